import { createDbPool, type DbPool } from '@platform/db-pool'
import { testPostgres } from '@platform/stack/testing'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { z } from 'zod'
import {
  createBroker,
  createInbox,
  createOutbox,
  defineMessage,
  QueueError,
  type Broker,
  type Database,
  type OutgoingMessage,
} from './index.ts'
import { memory } from './drivers/memory.ts'

const placed = defineMessage('orders.placed', {
  version: 1,
  schema: z.object({ film: z.string(), n: z.number() }),
  key: ({ film }) => film,
})
const patience = { timeout: 20_000, interval: 10 }

let place: Awaited<ReturnType<typeof testPostgres>>
let db: DbPool
let broker: Broker

beforeAll(async () => {
  place = await testPostgres()
  db = createDbPool({ url: place.url, maxSize: 10 })
  await db.query('create table effects (film text, n integer)')
})
beforeEach(() => {
  broker = createBroker({ driver: memory(), service: 'test' })
})
afterEach(async () => {
  await broker.close()
  await db.query('truncate effects')
  await db.query('drop table if exists platform_outbox, platform_inbox')
})
afterAll(async () => {
  await db?.close()
  await place?.close()
})

async function collect(): Promise<string[]> {
  const seen: string[] = []
  await broker.consume(placed, async ({ body }) => void seen.push(`${body.film}${body.n}`), { group: 'g', concurrency: 1 })
  return seen
}

/** The broker, but publishing fails while `broken` says so. */
function failing(broken: (message: OutgoingMessage) => boolean): Broker {
  return new Proxy(broker, {
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

describe('outbox', () => {
  it('publishes what commits and nothing of what rolls back', async () => {
    const seen = await collect()
    await using outbox = createOutbox({ db, broker })
    const failed = db.transaction(async (tx) => {
      await outbox.add(tx, placed, { film: 'a', n: 0 })
      throw new Error('no')
    })
    await expect(failed).rejects.toThrow('no')
    await db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
    await outbox.drain()
    expect(seen).toEqual(['a1'])
    expect((await db.query('select 1 from platform_outbox')).rows).toEqual([])
  })

  it('refuses a body that does not fit before anything is written', async () => {
    await using outbox = createOutbox({ db, broker })
    const added = db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 'x' } as never))
    await expect(added).rejects.toMatchObject({ code: 'ERR_QUEUE_INVALID' })
  })

  it('keeps what nobody has subscribed to until somebody does', async () => {
    await using outbox = createOutbox({ db, broker, pollIntervalMs: 20 })
    await db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))
    await vi.waitFor(() => expect(outbox.stats().failed).toBeGreaterThan(0), patience)
    const { rows } = await db.query<{ last_error: string }>('select last_error from platform_outbox')
    expect(rows).toEqual([{ last_error: 'ERR_QUEUE_UNROUTABLE' }])
    const seen = await collect()
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
  })

  it('publishes a delayed message when it is due', async () => {
    const seen = await collect()
    await using outbox = createOutbox({ db, broker, pollIntervalMs: 20 })
    const startedAt = performance.now()
    await db.transaction(async (tx) => {
      await outbox.add(tx, placed, { film: 'a', n: 2 }, { delayMs: 600 })
      await outbox.add(tx, placed, { film: 'a', n: 1 })
    })
    await vi.waitFor(() => expect(seen).toEqual(['a1', 'a2']), patience)
    expect(performance.now() - startedAt).toBeGreaterThan(550)
  })

  it('shares the rows among relays without publishing any twice', async () => {
    const seen = await collect()
    const outboxes = [1, 2, 3].map(() => createOutbox({ db, broker, pollIntervalMs: 10, batchSize: 7 }))
    await Promise.all(outboxes.map((outbox) => outbox.ready()))
    await Promise.all(
      Array.from({ length: 100 }, (_, n) =>
        db.transaction((tx) => (outboxes[n % 3] as (typeof outboxes)[0]).add(tx, placed, { film: 'a', n })),
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
    await using outbox = createOutbox({ db, broker: flaky, ordered: true, pollIntervalMs: 20 })
    for (const n of [0, 1, 2]) for (const film of ['a', 'b']) await db.transaction((tx) => outbox.add(tx, placed, { film, n }))
    await vi.waitFor(() => expect(seen.filter((line) => line.startsWith('b'))).toEqual(['b0', 'b1', 'b2']), patience)
    await vi.waitFor(() => expect(outbox.stats().failed).toBeGreaterThan(1), patience)
    expect(seen.filter((line) => line.startsWith('a'))).toEqual(['a0'])
    broken = false
    await vi.waitFor(() => expect(seen.filter((line) => line.startsWith('a'))).toEqual(['a0', 'a1', 'a2']), patience)
  })

  it('ordered: waits for an older transaction that is still open', async () => {
    const seen = await collect()
    await using outbox = createOutbox({ db, broker, ordered: true, pollIntervalMs: 20 })
    await outbox.ready()
    let commit: () => void = () => {}
    const gate = new Promise<void>((resolve) => {
      commit = resolve
    })
    let added: () => void = () => {}
    const olderAdded = new Promise<void>((resolve) => {
      added = resolve
    })
    const older = db.transaction(async (tx) => {
      await outbox.add(tx, placed, { film: 'a', n: 1 })
      added()
      await gate
    })
    await olderAdded
    await db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 2 }))
    await outbox.drain()
    expect(seen).toEqual([])
    commit()
    await older
    await vi.waitFor(() => expect(seen).toEqual(['a1', 'a2']), patience)
  })

  it('flushes what is due when it closes', async () => {
    const seen = await collect()
    const outbox = createOutbox({ db, broker, pollIntervalMs: 60_000 })
    await db.transaction(async (tx) => {
      // Without afterCommit nothing wakes the relay.
      await outbox.add({ query: (text, values) => tx.query(text, values) }, placed, { film: 'a', n: 1 })
    })
    expect(seen).toEqual([])
    await outbox.close()
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
    await expect(db.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))).rejects.toMatchObject({ code: 'ERR_QUEUE_CLOSED' })
  })

  it('takes a database that answers with bare rows', async () => {
    const seen = await collect()
    const bare: Database = {
      query: async (text, values) => (await db.query(text, values)).rows,
      transaction: (work) => db.transaction((tx) => work({ query: async (text, values) => (await tx.query(text, values)).rows })),
    }
    await using outbox = createOutbox({ db: bare, broker, pollIntervalMs: 20 })
    await bare.transaction((tx) => outbox.add(tx, placed, { film: 'a', n: 1 }))
    await vi.waitFor(() => expect(seen).toEqual(['a1']), patience)
  })
})

describe('inbox', () => {
  const insert = 'insert into effects (film, n) values ($1, $2)'

  it('lets a duplicate have no effect, also when both are handled at once', async () => {
    const inbox = createInbox({ db })
    const consumer = await broker.consume(
      placed,
      async ({ body }, { tx }) => {
        await tx?.query(insert, [body.film, body.n])
        await new Promise((resolve) => setTimeout(resolve, 50))
      },
      { group: 'g', concurrency: 4, inbox },
    )
    for (const id of ['x', 'x', 'y', 'x']) await broker.publish(placed, { film: 'a', n: 1 }, { id })
    await vi.waitFor(() => expect(consumer.stats().processed).toBe(4), patience)
    expect(consumer.stats().duplicates).toBe(2)
    expect((await db.query('select * from effects')).rows.length).toBe(2)
  })

  it('forgets the id when the handler fails, so that the retry runs', async () => {
    const inbox = createInbox({ db })
    const consumer = await broker.consume(
      placed,
      async ({ body, attempt }, { tx }) => {
        await tx?.query(insert, [body.film, body.n])
        if (attempt === 1) throw new Error('after the effect')
      },
      { group: 'g', inbox, retry: { maxAttempts: 3, initialDelayMs: 10 } },
    )
    await broker.publish(placed, { film: 'a', n: 1 })
    await vi.waitFor(() => expect(consumer.stats().processed).toBe(1), patience)
    expect((await db.query('select * from effects')).rows.length).toBe(1)
  })

  it('gives each group its own memory', async () => {
    const inbox = createInbox({ db })
    for (const group of ['one', 'two']) {
      await broker.consume(placed, async ({ body }, { tx }) => void (await tx?.query(insert, [body.film, body.n])), { group, inbox })
    }
    await broker.publish(placed, { film: 'a', n: 1 })
    await vi.waitFor(async () => expect((await db.query('select * from effects')).rows.length).toBe(2), patience)
  })
})
