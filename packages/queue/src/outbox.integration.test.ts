import { createDbPool } from '@platform/db-pool'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createOutbox, QueueError, type Broker, type Database, type OutgoingMessage, type TransactionLike } from './index.ts'
import { patience, placed, testStore } from './outboxes.fixture.ts'

const store = testStore()

afterEach(() => void vi.useRealTimers())

async function collect(): Promise<string[]> {
  const seen: string[] = []
  await store.broker.consume(placed, async ({ body }) => void seen.push(`${body.film}${body.n}`), { group: 'g', concurrency: 1 })
  return seen
}

/** The broker, but publishing fails while `broken` says so. */
function failing(broken: (message: OutgoingMessage) => boolean): Broker {
  return new Proxy(store.broker, {
    get(target, name) {
      if (name === 'send') {
        return async (message: OutgoingMessage, options: object) => {
          if (broken(message)) throw new QueueError('ERR_QUEUE_INDETERMINATE')
          await target.send(message, options)
        }
      }
      const member = Reflect.get(target, name) as unknown
      return typeof member === 'function' ? (member.bind(target) as unknown) : member
    },
  })
}

/** The broker, but publishing never settles, whatever its signal says. */
function silent(asked: () => void = () => {}): Broker {
  return new Proxy(store.broker, {
    get(target, name) {
      if (name === 'send') return () => (asked(), new Promise(() => {}))
      const member = Reflect.get(target, name) as unknown
      return typeof member === 'function' ? (member.bind(target) as unknown) : member
    },
  })
}

describe('outbox', () => {
  it('publishes what commits and nothing of what rolls back', async () => {
    const seen = await collect()
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
    const seen = await collect()
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
  })

  it('publishes a delayed message when it is due', async () => {
    const seen = await collect()
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
    const seen = await collect()
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

  it('ordered: follows the transactions of a key, and a row that fails holds back its key only', async () => {
    const seen = await collect()
    let broken = true
    const flaky = failing(({ envelope }) => broken && envelope.key === 'a' && envelope.body.includes('"n":1'))
    await using outbox = createOutbox({ db: store.db, broker: flaky, ordered: true, pollIntervalMs: 20 })
    for (const n of [0, 1, 2]) for (const film of ['a', 'b']) await store.db.transaction((tx) => outbox.add(tx, placed, { film, n }))
    await vi.waitFor(() => expect(seen.filter((line) => line.startsWith('b'))).toEqual(['b0', 'b1', 'b2']), patience)
    await vi.waitFor(() => expect(outbox.stats().failed).toBeGreaterThan(1), patience)
    expect(seen.filter((line) => line.startsWith('a'))).toEqual(['a0'])
    broken = false
    await vi.waitFor(() => expect(seen.filter((line) => line.startsWith('a'))).toEqual(['a0', 'a1', 'a2']), patience)
  })

  it('ordered: waits for an older transaction that is still open', async () => {
    const seen = await collect()
    await using outbox = createOutbox({ db: store.db, broker: store.broker, ordered: true, pollIntervalMs: 20 })
    await outbox.ready()
    let commit: () => void = () => {}
    const gate = new Promise<void>((resolve) => {
      commit = resolve
    })
    let added: () => void = () => {}
    const olderAdded = new Promise<void>((resolve) => {
      added = resolve
    })
    const older = store.db.transaction(async (tx) => {
      await outbox.add(tx, placed, { film: 'a', n: 1 })
      added()
      await gate
    })
    await olderAdded
    await store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 2 }))
    await outbox.drain()
    expect(seen).toEqual([])
    commit()
    await older
    await vi.waitFor(() => expect(seen).toEqual(['a1', 'a2']), patience)
  })

  it('ordered: two changes of one row are heard in the order of its lock, whichever transaction is older', async () => {
    const seen = await collect()
    await using outbox = createOutbox({ db: store.db, broker: store.broker, ordered: true, pollIntervalMs: 20 })
    await outbox.ready()
    await store.db.query('create table if not exists film (price integer)')
    await store.db.query('truncate film')
    await store.db.query('insert into film values (0)')
    const change = async (tx: TransactionLike, n: number): Promise<void> => {
      await tx.query('update film set price = $1', [n])
      await outbox.add(tx, placed, { film: 'a', n })
    }
    const [numbered, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const older = store.db.transaction(async (tx) => {
      await tx.query('select pg_current_xact_id()')
      numbered.resolve()
      await go.promise
      await change(tx, 2)
    })
    await numbered.promise
    await store.db.transaction((tx) => change(tx, 1))
    // What has nothing to do with the outbox holds nobody up, however old it is.
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
    go.resolve()
    await older
    await vi.waitFor(() => expect(seen).toEqual(['a1', 'a2']), patience)
  })

  it('ordered: tables in two schemas of one database have nothing to do with each other', async () => {
    await store.db.query('create schema if not exists sick')
    const url = new URL(store.url)
    url.searchParams.set('options', '-c search_path=sick')
    await using sickDb = createDbPool({ url: url.href })
    const sick = createOutbox({ db: sickDb, broker: silent(), ordered: true, pollIntervalMs: 20 })
    const seen = await collect()
    await using healthy = createOutbox({ db: store.db, broker: store.broker, ordered: true, pollIntervalMs: 20 })
    await sickDb.transaction((tx) => sick.add(tx, placed, { film: 'a', n: 0 }))
    await new Promise((resolve) => setTimeout(resolve, 200))
    await store.db.transaction((tx) => healthy.add(tx, placed, { film: 'a', n: 1 }))
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
    await sick.close({ timeoutMs: 50 })
  })

  it.each([false, true])('holds no transaction open while the broker is asked (ordered: %s)', async (ordered) => {
    const asked = Promise.withResolvers<void>()
    const outbox = createOutbox({ db: store.db, broker: silent(asked.resolve), ordered, pollIntervalMs: 20 })
    await store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))
    await asked.promise
    const { rows } = await store.db.query(
      "select state, query from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'",
    )
    expect(rows).toEqual([])
    await outbox.close({ timeoutMs: 50 })
  })

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
      const outbox = createOutbox({ db, broker: silent(asked.resolve), ordered, pollIntervalMs: 20 })
      await store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))
      await asked.promise
      await outbox.close({ timeoutMs: 50 })
      const before = queries
      await vi.advanceTimersByTimeAsync(30_000)
      expect(queries).toBe(before)
      vi.useRealTimers()
      const { rows } = await store.db.query('select claimed_until from platform_outbox where claimed_until is not null')
      expect([...rows, ...(await store.db.query('select owner from platform_outbox_owner')).rows]).toEqual([])
      const seen = await collect()
      await using next = createOutbox({ db: store.db, broker: store.broker, ordered, pollIntervalMs: 20 })
      await next.drain()
      await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
    },
  )

  it('gives no row free that another relay has claimed since', async () => {
    const asked = Promise.withResolvers<void>()
    const outbox = createOutbox({ db: store.db, broker: silent(asked.resolve), pollIntervalMs: 20 })
    await store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))
    await asked.promise
    await store.db.query("update platform_outbox set claimed_by = gen_random_uuid(), claimed_until = now() + interval '1 hour'")
    await outbox.close({ timeoutMs: 50 })
    expect((await store.db.query('select 1 from platform_outbox where claimed_until > now()')).rows).toHaveLength(1)
  })

  it.each([false, true])('is not stopped by a row that holds no message, and tells of it (ordered: %s)', async (ordered) => {
    const seen = await collect()
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

  it('ordered: waits for a transaction that may add to it, though it has no number yet', async () => {
    const seen = await collect()
    await using outbox = createOutbox({ db: store.db, broker: store.broker, ordered: true, pollIntervalMs: 20 })
    await outbox.ready()
    await store.db.transaction(async (early) => {
      await early.query('lock table platform_outbox in row exclusive mode')
      await store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 2 }))
      await new Promise((resolve) => setTimeout(resolve, 300))
      expect(seen).toEqual([])
      await outbox.add(early, placed, { film: 'b', n: 1 })
    })
    await vi.waitFor(() => expect(seen.toSorted()).toEqual(['a2', 'b1']), patience)
  })

  it('ordered: a transaction with savepoints holds up what was added after it, and nothing else', async () => {
    const seen = await collect()
    await using outbox = createOutbox({ db: store.db, broker: store.broker, ordered: true, pollIntervalMs: 20 })
    await outbox.ready()
    const [first, added, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const earlier = store.db.transaction(async (tx) => {
      await outbox.add({ query: (text, values) => tx.query(text, values) }, placed, { film: 'a', n: 1 })
      first.resolve()
      await added.promise
    })
    await first.promise
    const open = store.db.transaction(async (tx) => {
      await tx.query('savepoint kept')
      await outbox.add(tx, placed, { film: 'a', n: 2 })
      await tx.query('savepoint dropped')
      await outbox.add(tx, placed, { film: 'a', n: 3 })
      await tx.query('rollback to savepoint dropped')
      await outbox.add(tx, placed, { film: 'a', n: 4 })
      added.resolve()
      await go.promise
    })
    await earlier
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
    await store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 5 }))
    await outbox.drain()
    expect(seen).toEqual(['a1'])
    go.resolve()
    await open
    await vi.waitFor(() => expect(seen).toEqual(['a1', 'a2', 'a4', 'a5']), patience)
  })

  it('publishes rows that another server numbered, before those added since, and says so', async () => {
    const seen = await collect()
    const told: string[] = []
    const note = (_fields: object, text?: string): void => void told.push(text ?? '')
    const setup = createOutbox({ db: store.db, broker: store.broker, ordered: true })
    await setup.ready()
    await setup.close()
    const outgoing = await store.broker.prepare(placed, { film: 'a', n: 1 })
    // Logical replication brings rows with numbers, and no sequence.
    await store.db.query(
      "insert into platform_outbox (row_id, seq, xid, destination, key, message) values (gen_random_uuid(), 900, '1000000000', $1, 'a', $2)",
      [outgoing.destination, JSON.stringify(outgoing)],
    )
    await using outbox = createOutbox({
      db: store.db,
      broker: store.broker,
      ordered: true,
      pollIntervalMs: 20,
      logger: { debug: note, info: note, warn: note, error: note },
    })
    await outbox.ready()
    await store.db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 2 }))
    await vi.waitFor(() => expect(seen).toEqual(['a1', 'a2']), patience)
    await vi.waitFor(() => expect(told.join()).toMatch(/another database server/), patience)
  })

  it('tells once that it cannot deliver, and that it can again', async () => {
    const told: string[] = []
    const note = (_fields: object, text?: string): void => void told.push(text ?? '')
    let broken = true
    await using outbox = createOutbox({
      db: store.db,
      broker: failing(() => broken),
      pollIntervalMs: 10,
      logger: { debug: note, info: note, warn: note, error: note },
    })
    const seen = await collect()
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
    const seen = await collect()
    const odd = failing(({ envelope }) => {
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

  it('flushes what is due when it closes', async () => {
    const seen = await collect()
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
    const outcomes = Promise.allSettled(waits)
    await outbox.close({ timeoutMs: 20 })
    for (const outcome of await outcomes) expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ERR_QUEUE_CLOSED' } })
    await outbox.drain()
  })

  it('takes a database that answers with bare rows', async () => {
    const seen = await collect()
    const bare: Database = {
      query: async (text, values) => (await store.db.query(text, values)).rows,
      transaction: (work) => store.db.transaction((tx) => work({ query: async (text, values) => (await tx.query(text, values)).rows })),
    }
    await using outbox = createOutbox({ db: bare, broker: store.broker, pollIntervalMs: 20 })
    await bare.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
  })
})
