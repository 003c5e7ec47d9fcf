import { setTimeout as pause } from 'node:timers/promises'
import { type Compose, psql } from '../psql.ts'

export interface Locking {
  readonly compose: Compose
  /** Places so many orders, all at once; resolves when each has its answer. */
  readonly order: (count: number) => Promise<void>
  /** How long the lock lasts at most, when nobody takes it back. */
  readonly lastsMs: number
}

/** At once: more than both instances have connections. */
const ordersAtOnce = 60
const lockedWithinMs = 30_000
const session = 'rehearsal'
const ofSession = `pg_stat_activity where application_name = '${session}'`
const isHeld = `select exists (select from pg_locks where relation = 'orders'::regclass and mode = 'AccessExclusiveLock' and granted and pid in (select pid from ${ofSession}))`
const end = `select count(pg_terminate_backend(pid)) from ${ofSession}`

/**
 * Locks the table of orders, then orders all the time. Resolves with what ends both, which rejects when the lock had not lasted until then; rejects when it was
 * not got, before anything is ordered.
 */
export async function lockOrders({ compose, order, lastsMs }: Locking): Promise<() => Promise<void>> {
  const sql = (text: string) => psql(compose, 'postgres', 'orders', text)
  const holding = sql(`set application_name = '${session}'; begin; lock table orders; select pg_sleep(${Math.ceil(lastsMs / 1000)})`)
  const gone = holding.then(
    () => new Error('the lock of orders ended by itself'),
    (error: Error) => new Error(`the lock of orders is not held: ${error.message}`, { cause: error }),
  )
  try {
    await held(gone, async () => (await sql(isHeld)) === 't')
  } catch (error) {
    // Whoever waits for it still must not get it later.
    await sql(end).catch(() => {})
    throw error
  }

  let isLocked = true
  const ordering = (async () => {
    for (; isLocked; await pause(100)) await order(ordersAtOnce)
  })()
  return async () => {
    isLocked = false
    const ended = await sql(end)
    const why = await gone
    await ordering
    if (ended !== '1') throw why
  }
}

async function held(gone: Promise<Error>, isSo: () => Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + lockedWithinMs
  for (;;) {
    const found = await Promise.race([gone, isSo()])
    if (found === true) return
    if (found instanceof Error) throw found
    if (performance.now() > giveUpAt) throw new Error(`orders were not locked within ${lockedWithinMs / 1000} s: somebody else holds them`)
    await pause(100)
  }
}
