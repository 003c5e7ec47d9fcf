import { createHash } from 'node:crypto'
import type { BusTransport, InvalidationBus, QueryableLike } from '../invalidation.ts'
import { fail, numberOption } from '../options.ts'
import { sleep } from '../timing.ts'

/** db-pool, or an adapter over a `pg` client of your own. */
export interface ListeningDatabase extends QueryableLike {
  /** `onGap` must be called when notifications may have been missed, at the latest when listening stands again. Resolves to the end of listening. */
  listen(channel: string, onMessage: (payload: string) => void, onGap?: () => void): Promise<() => Promise<void>>
}

export interface PostgresBusOptions {
  /** Also keeps the intents of invalidateAfterCommit, in the table platform_cache_invalidations. */
  db: ListeningDatabase
  /** Default 2000, at least 50. A copy in l1 goes unconfirmed for at most three of them. */
  heartbeatMs?: number | undefined
}

/** NOTIFY takes a payload below 8000 bytes. */
const maxPayloadBytes = 7_900
const initialDelayMs = 100
const maxDelayMs = 2_000

/** LISTEN and NOTIFY: for processes that share a database and nothing else. Behind a pooler in transaction mode it does not work. */
export function postgresBus(options: PostgresBusOptions): InvalidationBus {
  const { db, heartbeatMs, ...unknown } = options
  for (const name of Object.keys(unknown)) fail(`postgresBus: unknown option ${name}`)
  if (typeof db?.listen !== 'function' || typeof db.query !== 'function') fail('postgresBus: db must have listen and query')
  let opened = false
  return {
    name: 'postgres',
    maxPayloadBytes,
    heartbeatMs: numberOption('postgresBus: heartbeatMs', heartbeatMs, 2_000, 50),
    db,
    open({ namespace, onMessage, onLost }) {
      if (opened) fail('postgresBus: this bus belongs to another cache already; make one per cache')
      opened = true
      return subscribe(db, channelOf(namespace), onMessage, onLost)
    },
  }
}

/** Names of channels have at most 63 bytes. */
function channelOf(namespace: string): string {
  return `platform_cache_${createHash('sha256').update(namespace).digest('hex').slice(0, 32)}`
}

function subscribe(
  db: ListeningDatabase,
  channel: string,
  onMessage: (payload: string) => void,
  onLost: (cause: unknown) => void,
): BusTransport {
  let closed = false
  const closing = Promise.withResolvers<void>()
  let stop: (() => Promise<void>) | undefined
  const listening = (async () => {
    for (let delayMs = initialDelayMs; !closed; delayMs = Math.min(maxDelayMs, delayMs * 2)) {
      try {
        stop = await db.listen(channel, onMessage, () => {
          if (!closed) onLost('notifications may have been missed')
        })
        if (!closed) onLost('listening')
        return
      } catch {
        await Promise.race([sleep(delayMs), closing.promise])
      }
    }
  })()
  return {
    publish: async (payload) => {
      await db.query('select pg_notify($1, $2)', [channel, payload])
    },
    close: async () => {
      closed = true
      closing.resolve()
      await listening
      await stop?.()
    },
  }
}
