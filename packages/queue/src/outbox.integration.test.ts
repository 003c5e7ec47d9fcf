import { describe, expect, it, vi } from 'vitest'
import { createOutbox, type Database } from './index.ts'
import { collect, failing, patience, placed, silent, testStore } from './outboxes.fixture.ts'

const store = testStore()

describe('outbox', () => {
  it('publishes what commits and nothing of what rolls back', async () => {
    const seen = await collect(store)
    await using outbox = createOutbox({ db: store.db, broker: store.broker })
    const failed = store.db.transaction(async (tx) => {
      await outbox.add(tx, placed, { film: 'a', n: 0 })
      throw new Error('no')
    })
    await expect(failed).rejects.toThrow('no')
    await store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
    await outbox.drain()
    expect(seen).toEqual(['a1'])
    expect((await store.db.query('select 1 from platform_outbox')).rows).toEqual([])
  })

  it('refuses a body that does not fit before anything is written', async () => {
    await using outbox = createOutbox({ db: store.db, broker: store.broker })
    const added = store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 'x' } as never))
    await expect(added).rejects.toMatchObject({ code: 'ERR_QUEUE_INVALID' })
  })

  it('keeps what nobody has subscribed to until somebody does', async () => {
    await using outbox = createOutbox({ db: store.db, broker: store.broker, pollIntervalMs: 20 })
    await store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))
    await vi.waitFor(() => expect(outbox.stats().failed).toBeGreaterThan(0), patience)
    const { rows } = await store.db.query<{ last_error: string }>('select last_error from platform_outbox')
    expect(rows).toEqual([{ last_error: 'ERR_QUEUE_UNROUTABLE' }])
    const seen = await collect(store)
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
  })

  it('publishes a delayed message when it is due', async () => {
    const seen = await collect(store)
    await using outbox = createOutbox({ db: store.db, broker: store.broker, pollIntervalMs: 20 })
    const startedAt = performance.now()
    await store.db.transaction(async (tx) => {
      await outbox.add(tx, placed, { film: 'a', n: 2 }, { delayMs: 600 })
      await outbox.add(tx, placed, { film: 'a', n: 1 })
    })
    await vi.waitFor(() => expect(seen).toEqual(['a1', 'a2']), patience)
    expect(performance.now() - startedAt).toBeGreaterThan(550)
  })

  it('shares the rows among relays without publishing any twice', async () => {
    const seen = await collect(store)
    const outboxes = [1, 2, 3].map(() => createOutbox({ db: store.db, broker: store.broker, pollIntervalMs: 10, batchSize: 7 }))
    await Promise.all(outboxes.map((outbox) => outbox.ready()))
    await Promise.all(
      Array.from({ length: 100 }, (_, n) =>
        store.db.transaction((tx) => (outboxes[n % 3] as (typeof outboxes)[0]).add(tx, placed, { film: 'a', n })),
      ),
    )
    await vi.waitFor(() => expect(seen.length).toBeGreaterThanOrEqual(100), patience)
    await Promise.all(outboxes.map((outbox) => outbox.close()))
    expect(new Set(seen).size).toBe(100)
    expect(seen.length).toBe(100)
  })

  it.each([false, true])('holds no transaction open while the broker is asked (ordered: %s)', async (ordered) => {
    const asked = Promise.withResolvers<void>()
    const outbox = createOutbox({ db: store.db, broker: silent(store, asked.resolve), ordered, pollIntervalMs: 20 })
    await store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))
    await asked.promise
    const { rows } = await store.db.query(
      "select state, query from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'",
    )
    expect(rows).toEqual([])
    await outbox.close({ timeoutMs: 50 })
  })

  it.each([false, true])('is not stopped by a row that holds no message, and tells of it (ordered: %s)', async (ordered) => {
    const seen = await collect(store)
    const told: object[] = []
    const note = (fields: object): void => void told.push(fields)
    await using outbox = createOutbox({
      db: store.db,
      broker: store.broker,
      ordered,
      pollIntervalMs: 20,
      logger: { debug: note, info: note, warn: note, error: note },
    })
    await outbox.ready()
    for (const message of ['"text"', '{"destination": 3}', 'null', '{"envelope": {"id": 1}}']) {
      await store.db.query('insert into platform_outbox (row_id, destination, message) values (gen_random_uuid(), $1, $2)', ['x', message])
    }
    await store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
    await vi.waitFor(async () => {
      const { rows } = await store.db.query<{ last_error: string }>('select distinct last_error from platform_outbox')
      expect(rows).toEqual([{ last_error: 'ERR_QUEUE_INVALID' }])
    }, patience)
    await vi.waitFor(() => expect(told).toContainEqual(expect.objectContaining({ destination: 'x' })), patience)
  })

  it('tells once that it cannot deliver, and that it can again', async () => {
    const told: string[] = []
    const note = (_fields: object, text?: string): void => void told.push(text ?? '')
    let broken = true
    await using outbox = createOutbox({
      db: store.db,
      broker: failing(store, () => broken),
      pollIntervalMs: 10,
      logger: { debug: note, info: note, warn: note, error: note },
    })
    const seen = await collect(store)
    for (let n = 0; n < 5; n += 1) await store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n }))
    await vi.waitFor(() => expect(outbox.stats().failed).toBeGreaterThan(5), patience)
    expect(await outbox.check()).toMatchObject({ status: 'warn' })
    expect(told.filter((text) => text.includes('cannot deliver'))).toHaveLength(1)
    broken = false
    await vi.waitFor(() => expect(seen.length).toBe(5), patience)
    await vi.waitFor(() => expect(told.at(-1)).toBe('outbox delivers again'), patience)
    expect(await outbox.check()).toBeUndefined()
  })

  it('is not stopped by an error whose name no database stores', async () => {
    const seen = await collect(store)
    const odd = failing(store, ({ envelope }) => {
      if (envelope.body.includes('"n":1')) throw Object.assign(new Error('no'), { name: 'a\0b\ud800' })
      return false
    })
    await using outbox = createOutbox({ db: store.db, broker: odd, pollIntervalMs: 20 })
    await store.db.transaction(async (tx) => {
      for (const n of [1, 2]) await outbox.add(tx, placed, { film: 'a', n })
    })
    await vi.waitFor(() => expect(outbox.stats().failed).toBeGreaterThan(1), patience)
    const { rows } = await store.db.query<{ last_error: string }>('select last_error from platform_outbox')
    expect(rows).toEqual([{ last_error: 'ab\ufffd' }])
    expect(seen).toEqual(['a2'])
  })

  it('takes a database that answers with bare rows', async () => {
    const seen = await collect(store)
    const bare: Database = {
      query: async (text, values) => (await store.db.query(text, values)).rows,
      transaction: (work) => store.db.transaction((tx) => work({ query: async (text, values) => (await tx.query(text, values)).rows })),
    }
    await using outbox = createOutbox({ db: bare, broker: store.broker, pollIntervalMs: 20 })
    await bare.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
  })
})
