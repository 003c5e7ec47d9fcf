import type { IncomingMessage, ServerResponse } from 'node:http'
import type { LoggerLike } from '../logger-like.ts'
import type { ResolvedAdminOptions, ResolvedServiceOptions } from '../options.ts'

type Answer = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>

/** What a path answers, by method. Access was checked before. */
export interface AdminPage {
  readonly GET: Answer
  readonly PUT?: Answer
}

export function pagesOf({ logger, leveled }: ResolvedServiceOptions, { metrics }: ResolvedAdminOptions): ReadonlyMap<string, AdminPage> {
  const pages = new Map<string, AdminPage>()
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

export function reply(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' }).end(`${text}\n`)
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
