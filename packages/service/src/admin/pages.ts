import type { IncomingMessage, ServerResponse } from 'node:http'
import { isIP } from 'node:net'
import type { LoggerLike } from '../logger-like.ts'
import { deadLettersPage } from './dead-letters.ts'
import { settingsOf, statusOf } from './details.ts'
import { reply, replyJson } from './reply.ts'
import type { ResolvedAdminOptions, ResolvedServiceOptions } from '../options.ts'

type Answer = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>

/** What a path answers, by method. Access was checked before. */
export interface AdminPage {
  readonly GET: Answer
  readonly PUT?: Answer
  readonly POST?: Answer
}

export function pagesOf(
  options: ResolvedServiceOptions,
  { metrics, host, token, deadLetters }: ResolvedAdminOptions,
): ReadonlyMap<string, AdminPage> {
  const { logger, leveled } = options
  const pages = new Map<string, AdminPage>()
  // Details are for those who have the token, or are on this machine.
  if (token !== undefined || isLoopback(host)) {
    pages.set('/status', { GET: (_request, response) => replyJson(response, statusOf(options)) })
    pages.set('/config', { GET: (_request, response) => replyJson(response, settingsOf(options.levels) ?? {}) })
    if (deadLetters) pages.set('/dead-letters', deadLettersPage(deadLetters, logger))
  }
  if (metrics) {
    pages.set('/metrics', {
      async GET(request, response) {
        const page = await metrics({ headers: request.headers })
        if (!response.headersSent) response.writeHead(200, { 'content-type': page.contentType }).end(page.body)
      },
    })
  }
  if (leveled) {
    pages.set('/level', {
      GET: (_request, response) => reply(response, 200, leveled.level),
      PUT: (request, response) => setLevel(request, response, leveled, logger),
    })
  }
  return pages
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

async function setLevel(request: IncomingMessage, response: ServerResponse, leveled: { level: string }, logger: LoggerLike): Promise<void> {
  let text = ''
  for await (const chunk of request) {
    text += String(chunk)
    if (text.length > 32) return reply(response, 413, 'a level is one word')
  }
  const before = leveled.level
  try {
    leveled.level = text.trim()
  } catch {
    return reply(response, 400, 'no such level')
  }
  logger.warn({ from: before, to: leveled.level }, 'log level changed')
  reply(response, 200, leveled.level)
}
