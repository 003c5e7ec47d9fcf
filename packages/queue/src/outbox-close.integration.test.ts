import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createOutbox, type Database } from './index.ts'
import { collect, patience, placed, silent, testStore } from './outboxes.fixture.ts'

const store = testStore()

afterEach(() => void vi.useRealTimers())

describe('an outbox that is closed', () => {
  it.each([false, true])(
    'closed while its broker does not answer, asks nothing more and leaves all to the next (ordered: %s)',
    async (ordered) => {
      vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
      const asked = Promise.withResolvers<void>()
      let queries = 0
      const db: Database = {
        query: (text, values) => ((queries += 1), store.db.query(text, values)),
        transaction: (work) => ((queries += 1), store.db.transaction(work)),
      }
      const outbox = createOutbox({ db, broker: silent(store, asked.resolve), ordered, pollIntervalMs: 20 })
      await store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))
      await asked.promise
      await outbox.close({ timeoutMs: 50 })
      const before = queries
      await vi.advanceTimersByTimeAsync(30_000)
      expect(queries).toBe(before)
      vi.useRealTimers()
      const { rows } = await store.db.query('select claimed_until from platform_outbox where claimed_until is not null')
      expect([...rows, ...(await store.db.query('select owner from platform_outbox_owner')).rows]).toEqual([])
      const seen = await collect(store)
      await using next = createOutbox({ db: store.db, broker: store.broker, ordered, pollIntervalMs: 20 })
      await next.drain()
      await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
    },
  )

  it('gives no row free that another relay has claimed since', async () => {
    const asked = Promise.withResolvers<void>()
    const outbox = createOutbox({ db: store.db, broker: silent(store, asked.resolve), pollIntervalMs: 20 })
    await store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))
    await asked.promise
    await store.db.query("update platform_outbox set claimed_by = gen_random_uuid(), claimed_until = now() + interval '1 hour'")
    await outbox.close({ timeoutMs: 50 })
    expect((await store.db.query('select 1 from platform_outbox where claimed_until > now()')).rows).toHaveLength(1)
  })

  it('flushes what is due when it closes', async () => {
    const seen = await collect(store)
    const outbox = createOutbox({ db: store.db, broker: store.broker, pollIntervalMs: 60_000 })
    await store.db.transaction(async (tx) => {
      // Without afterCommit nothing wakes the relay.
      await outbox.add({ query: (text, values) => tx.query(text, values) }, placed, { film: 'a', n: 1 })
    })
    expect(seen).toEqual([])
    await outbox.close()
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
    await expect(store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))).rejects.toMatchObject({
      code: 'ERR_QUEUE_CLOSED',
    })
  })

  it('ends every wait with its close, whatever its database does', async () => {
    const never: Database = { query: () => new Promise(() => {}), transaction: () => new Promise(() => {}) }
    const outbox = createOutbox({ db: never, broker: store.broker })
    const waits = [
      outbox.ready(),
      outbox.ready({ signal: new AbortController().signal }),
      outbox.drain(),
      outbox.add({ query: async () => ({ rows: [] }) }, placed, { film: 'a', n: 1 }),
    ]
    await nextTurn()
    // It waits for the round of the one before.
    waits.push(outbox.drain())
    const outcomes = Promise.allSettled(waits)
    await outbox.close({ timeoutMs: 20 })
    for (const outcome of await outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ERR_QUEUE_CLOSED' } })
    await outbox.drain()
  })
})
