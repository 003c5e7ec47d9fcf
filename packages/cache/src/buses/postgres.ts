import { createHash } from 'node:crypto'
import { backgroundPause, durationOption, knownOptions } from '@platform/kernel'
import { CacheError, withoutRequest, wrongOption } from '../errors.ts'
import type { BusTransport, InvalidationBus, QueryableLike } from '../invalidation.ts'

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
  knownOptions(wrongOption, 'postgresBus', options, ['db', 'heartbeatMs'])
  const { db, heartbeatMs = 2_000 } = options
  if (typeof db?.listen !== 'function' || typeof db.query !== 'function') throw wrongOption('postgresBus.db', 'must have listen and query')
  let opened = false
  return {
    name: 'postgres',
    maxPayloadBytes,
    heartbeatMs: durationOption(wrongOption, 'postgresBus.heartbeatMs', heartbeatMs, 50),
    db,
    open({ namespace, onMessage, onLost }) {
      if (opened) throw wrongOption('postgresBus', 'belongs to another cache already; make one per cache')
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
  const closing = new AbortController()
  let stop: (() => Promise<void>) | undefined
  /** Messages count from when the loss of all before has been told: the answer and a message may come in one go. */
  let listens = false
  const listening = (async () => {
    for (let delayMs = initialDelayMs; !closing.signal.aborted; delayMs = Math.min(maxDelayMs, delayMs * 2)) {
      try {
        const hear = (payload: string): void => {
          if (listens) onMessage(payload)
        }
        stop = await db.listen(channel, hear, () => {
          if (!closing.signal.aborted) onLost('notifications may have been missed')
        })
        if (closing.signal.aborted) return
        listens = true
        onLost('listening')
        return
      } catch {
        await backgroundPause(delayMs, closing.signal)
      }
    }
  })()
  return {
    publish: async (payload) => {
      try {
        await db.query('select pg_notify($1, $2)', [channel, payload])
      } catch (error) {
        const cause = withoutRequest(error)
        throw isDataFault(error) ? new CacheError('ERR_CACHE_REFUSED', undefined, { cause }) : cause
      }
    },
    close: async () => {
      closing.abort()
      await listening
      await stop?.()
    },
  }
}

/** Class 22: what was sent is wrong, and will be. */
function isDataFault(error: unknown): boolean {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' && /^22...$/.test(code)
}
