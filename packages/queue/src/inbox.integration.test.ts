import { describe, expect, it, vi } from 'vitest'
import { createInbox } from './index.ts'
import { patience, placed, testStore } from './outboxes.fixture.ts'

const store = testStore()

describe('inbox', () => {
  const insert = 'insert into effects (film, n) values ($1, $2)'

  it('lets a duplicate have no effect, also when both are handled at once', async () => {
    const inbox = createInbox({ db: store.db })
    const consumer = await store.broker.consume(
      placed,
      async ({ body }, { tx }) => {
        await tx.query(insert, [body.film, body.n])
        await new Promise((resolve) => setTimeout(resolve, 50))
      },
      { group: 'g', concurrency: 4, inbox },
    )
    for (const id of ['x', 'x', 'y', 'x']) await store.broker.publish(placed, { film: 'a', n: 1 }, { id })
    await vi.waitFor(() => expect(consumer.stats().processed).toBe(4), patience)
    expect(consumer.stats().duplicates).toBe(2)
    expect((await store.db.query('select * from effects')).rows.length).toBe(2)
  })

  it('forgets the id when the handler fails, so that the retry runs', async () => {
    const inbox = createInbox({ db: store.db })
    const consumer = await store.broker.consume(
      placed,
      async ({ body, attempt }, { tx }) => {
        await tx.query(insert, [body.film, body.n])
        if (attempt === 1) throw new Error('after the effect')
      },
      { group: 'g', inbox, retry: { maxAttempts: 3, initialDelayMs: 10 } },
    )
    await store.broker.publish(placed, { film: 'a', n: 1 })
    await vi.waitFor(() => expect(consumer.stats().processed).toBe(1), patience)
    expect((await store.db.query('select * from effects')).rows.length).toBe(1)
  })

  it('serves batches in one transaction, each message once, also when two members have the same ones in another order', async () => {
    const inbox = createInbox({ db: store.db })
    const group = 'batches'
    const [first, second] = await Promise.all(
      [0, 1].map(() =>
        store.broker.consume(
          placed,
          async (deliveries, { tx }) => {
            for (const { body } of deliveries) await tx.query(insert, [body.film, body.n])
            await new Promise((resolve) => setTimeout(resolve, 5))
          },
          { group, inbox, concurrency: 10, batch: { maxSize: 10, maxWaitMs: 20 } },
        ),
      ),
    )
    const ids = Array.from({ length: 40 }, (_, n) => `batch-${n}`)
    for (const id of [...ids, ...ids.toReversed()]) await store.broker.publish(placed, { film: 'a', n: 1 }, { id })
    await vi.waitFor(() => expect(first!.stats().processed + second!.stats().processed).toBe(80), patience)
    expect(first!.stats().duplicates + second!.stats().duplicates).toBe(40)
    expect((await store.db.query('select * from effects')).rows.length).toBe(40)
  })

  it('gives each group its own memory', async () => {
    const inbox = createInbox({ db: store.db })
    for (const group of ['one', 'two']) {
      await store.broker.consume(placed, async ({ body }, { tx }) => void (await tx.query(insert, [body.film, body.n])), { group, inbox })
    }
    await store.broker.publish(placed, { film: 'a', n: 1 })
    await vi.waitFor(async () => expect((await store.db.query('select * from effects')).rows.length).toBe(2), patience)
  })

  it('removes every expired id in one sweep, however many there are', async () => {
    const inbox = createInbox({ db: store.db, retentionMs: 60_000 })
    await inbox.ready()
    await store.db.query("insert into platform_inbox select 'c', 'old' || i, now() - interval '1 day' from generate_series(1, 35000) i")
    const clock = vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 61_000)
    await inbox.once('c', 'new', async () => {})
    clock.mockRestore()
    await vi.waitFor(
      async () => expect((await store.db.query('select message_id from platform_inbox')).rows).toEqual([{ message_id: 'new' }]),
      patience,
    )
  })
})
