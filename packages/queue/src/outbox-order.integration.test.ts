import { createDbPool } from '@platform/db-pool'
import { describe, expect, it, vi } from 'vitest'
import { createOutbox, type TransactionLike } from './index.ts'
import { collect, failing, patience, placed, silent, testStore } from './outboxes.fixture.ts'

const store = testStore()

describe('an ordered outbox', () => {
  it('follows the transactions of a key, and a row that fails holds back its key only', async () => {
    const seen = await collect(store)
    let broken = true
    const flaky = failing(store, ({ envelope }) => broken && envelope.key === 'a' && envelope.body.includes('"n":1'))
    await using outbox = createOutbox({ db: store.db, broker: flaky, ordered: true, pollIntervalMs: 20 })
    for (const n of [0, 1, 2]) for (const film of ['a', 'b']) await store.db.transaction((tx) => outbox.add(tx, placed, { film, n }))
    await vi.waitFor(() => expect(seen.filter((line) => line.startsWith('b'))).toEqual(['b0', 'b1', 'b2']), patience)
    await vi.waitFor(() => expect(outbox.stats().failed).toBeGreaterThan(1), patience)
    expect(seen.filter((line) => line.startsWith('a'))).toEqual(['a0'])
    broken = false
    await vi.waitFor(() => expect(seen.filter((line) => line.startsWith('a'))).toEqual(['a0', 'a1', 'a2']), patience)
  })

  it('waits for an older transaction that is still open', async () => {
    const seen = await collect(store)
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

  it('two changes of one row are heard in the order of its lock, whichever transaction is older', async () => {
    const seen = await collect(store)
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

  it('tables in two schemas of one database have nothing to do with each other', async () => {
    await store.db.query('create schema if not exists sick')
    const url = new URL(store.url)
    url.searchParams.set('options', '-c search_path=sick')
    await using sickDb = createDbPool({ url: url.href })
    const sick = createOutbox({ db: sickDb, broker: silent(store), ordered: true, pollIntervalMs: 20 })
    const seen = await collect(store)
    await using healthy = createOutbox({ db: store.db, broker: store.broker, ordered: true, pollIntervalMs: 20 })
    await sickDb.transaction((tx) => sick.add(tx, placed, { film: 'a', n: 0 }))
    await new Promise((resolve) => setTimeout(resolve, 200))
    await store.db.transaction((tx) => healthy.add(tx, placed, { film: 'a', n: 1 }))
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
    await sick.close({ timeoutMs: 50 })
  })

  it('waits for a transaction that may add to it, though it has no number yet', async () => {
    const seen = await collect(store)
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

  it('a transaction with savepoints holds up what was added after it, and nothing else', async () => {
    const seen = await collect(store)
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
    const seen = await collect(store)
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
})
