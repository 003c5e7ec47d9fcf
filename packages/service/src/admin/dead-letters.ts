import type { IncomingMessage, ServerResponse } from 'node:http'
import type { LoggerLike } from '../logger-like.ts'
import type { AdminPage } from './pages.ts'
import { reply, replyJson } from './reply.ts'

/** What is used of `broker.deadLetters(message, group)` of `@platform/queue`, by shape. */
export interface DeadLettersLike {
  count(): Promise<number>
  list(options: { limit: number }): Promise<readonly DeadLetterLike[]>
  replay(id: string): Promise<void>
  discard(id: string): Promise<void>
}

interface DeadLetterLike {
  readonly id: string
  readonly key?: string | undefined
  readonly reason: string
  readonly attempt: number
  readonly replays: number
  readonly deadAt: Date
}

const listed = 100

/**
 * `GET /dead-letters`: of each list how many, and the oldest with their reasons. Bodies stay out: they are customers' data. `POST
 * /dead-letters?list=shipping&id=…&do=replay` (or `discard`) settles one.
 */
export function deadLettersPage(lists: Readonly<Record<string, DeadLettersLike>>, logger: LoggerLike): AdminPage {
  return {
    async GET(_request, response) {
      const shown = Object.entries(lists).map(async ([name, list]) => {
        const [count, letters] = await Promise.all([list.count(), list.list({ limit: listed })])
        return [name, { count, letters: letters.map(shownOf) }] as const
      })
      replyJson(response, Object.fromEntries(await Promise.all(shown)))
    },
    POST: (request, response) => settle(request, response, lists, logger),
  }
}

function shownOf({ id, key, reason, attempt, replays, deadAt }: DeadLetterLike): DeadLetterLike {
  return { id, key, reason, attempt, replays, deadAt }
}

async function settle(
  request: IncomingMessage,
  response: ServerResponse,
  lists: Readonly<Record<string, DeadLettersLike>>,
  logger: LoggerLike,
): Promise<void> {
  const asked = new URL(request.url ?? '/', 'http://admin').searchParams
  const [name = '', id = '', what] = ['list', 'id', 'do'].map((key) => asked.get(key) ?? undefined)
  const list = Object.hasOwn(lists, name) ? lists[name] : undefined
  if (list === undefined) return reply(response, 404, `lists are ${Object.keys(lists).join(' ')}`)
  if (id === '' || (what !== 'replay' && what !== 'discard'))
    return reply(response, 400, 'say which and what: list=…&id=…&do=replay or discard')
  await list[what](id)
  logger.warn({ list: name, id, done: what }, 'dead letter settled by an operator')
  reply(response, 200, what === 'replay' ? 'replayed' : 'discarded')
}
