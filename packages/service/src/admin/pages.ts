import type { IncomingMessage, ServerResponse } from 'node:http'
import { isIP } from 'node:net'
import type { LoggerLike } from '../logger-like.ts'
import { deadLettersPage } from './dead-letters.ts'
import { settingsOf, statusOf } from './details.ts'
import { createProfiles } from './profiles.ts'
import { reply, replyJson } from './reply.ts'
import type { Leveled, ResolvedAdminOptions, ResolvedServiceOptions } from '../options.ts'

type Answer = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>

/** What a path answers, by method. Access was checked before. */
export interface AdminPage {
  readonly GET: Answer
  readonly PUT?: Answer
  readonly POST?: Answer
}

export function pagesOf(
  options: ResolvedServiceOptions,
  { metrics, host, token, audit, deadLetters }: ResolvedAdminOptions,
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
  if (token !== undefined) {
    const profiles = createProfiles({ logger, audit })
    for (const kind of ['cpu', 'heap'] as const) {
      pages.set(`/profile/${kind}`, {
        GET: (_request, response) => reply(response, 200, profiles.describe(kind)),
        // Not awaited: it takes longer than any other answer may.
        POST: (request, response) => void profiles.take(kind, request, response),
      })
    }
  }
  return pages
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

async function setLevel(request: IncomingMessage, response: ServerResponse, leveled: Leveled, logger: LoggerLike): Promise<void> {
  let text = ''
  for await (const chunk of request) {
    text += String(chunk)
    if (text.length > 32) return reply(response, 413, 'a level is one word')
  }
  const level = text.trim()
  const query = new URLSearchParams((request.url ?? '').split('?')[1])
  if (query.size > 0) return setForATime(response, leveled, level, query)
  const before = leveled.level
  try {
    leveled.level = level
  } catch {
    return reply(response, 400, 'no such level')
  }
  logger.warn({ from: before, to: leveled.level }, 'log level changed')
  reply(response, 200, leveled.level)
}

/** `?seconds=600&module=stock`; the logger itself says so in its log. */
function setForATime(response: ServerResponse, leveled: Leveled, level: string, query: URLSearchParams): void {
  if (leveled.overrideLevel === undefined) return reply(response, 400, 'this logger has no levels for a time')
  try {
    leveled.overrideLevel(level, { module: query.get('module') ?? undefined, forMs: Number(query.get('seconds') ?? 600) * 1_000 })
  } catch (error) {
    return reply(response, 400, error instanceof Error ? error.message : 'no such level')
  }
  reply(response, 200, level)
}
