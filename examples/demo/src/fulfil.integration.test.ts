import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createBroker, createOutbox, type TransactionLike } from '@platform/queue'
import { memory } from '@platform/queue/memory'
import { startPostgres } from '@platform/stack'
import type pg from 'pg'
import { expect, it, onTestFinished } from 'vitest'
import { fulfil } from '../../fulfilment-worker/src/fulfil.ts'
import { withClient } from './databases.ts'

const migrations = ['001-stock.sql', '002-taken-version.sql'].map((file) =>
  readFileSync(new URL(`../../fulfilment-worker/migrations/${file}`, import.meta.url), 'utf8'),
)

interface Said {
  readonly destination: string
  readonly id: string
}

/** A shelf with three copies of film 1, and an outbox from which nobody takes anything, since nobody has subscribed: what it holds is what was said. */
async function withShelf(work: (shelf: Shelf) => Promise<void>): Promise<void> {
  await using server = await startPostgres({ fresh: true })
  await withClient(server.url, async (client) => {
    for (const text of migrations) await client.query(text)
    await client.query('insert into stock (film_id, seeded, remaining) values (1, 3, 3)')
    const query: pg.Client['query'] = client.query.bind(client)
    const tx: TransactionLike = { query: (text, values = []) => query(text, [...values]) }
    const db = {
      ...tx,
      async transaction<T>(inside: (tx: TransactionLike) => Promise<T>): Promise<T> {
        await query('begin')
        const result = await inside(tx)
        await query('commit')
        return result
      },
    }
    const broker = createBroker({ driver: memory(), service: 'fulfilment-worker' })
    onTestFinished(() => broker.close())
    const outbox = createOutbox({ db, broker })
    const take = (orderId: string, quantity = 1, filmId = 1) => db.transaction(() => fulfil(tx, outbox, { orderId, filmId, quantity }))
    const said = async () => {
      const { rows } = await client.query<Said>(
        "select destination, message -> 'envelope' ->> 'id' as id from platform_outbox order by seq",
      )
      return rows
    }
    const books = async () => {
      const { rows } = await client.query<{ remaining: number; version: number; taken: string; changes: string }>(
        'select remaining, version, (select count(*) from taken) as taken, (select count(*) from stock_history) as changes from stock',
      )
      return rows[0]!
    }
    try {
      await work({ take, said, books })
    } finally {
      await outbox.close({ timeoutMs: 0 })
    }
  })
}

interface Shelf {
  take(orderId: string, quantity?: number, filmId?: number): ReturnType<typeof fulfil>
  said(): Promise<Said[]>
  books(): Promise<{ remaining: number; version: number; taken: string; changes: string }>
}

it('an order that comes twice takes stock once, and is answered twice under one id', { timeout: 120_000 }, () =>
  withShelf(async ({ take, said, books }) => {
    const order = randomUUID()
    expect(await take(order, 2)).toBe('fulfilled')
    expect(await take(order, 2)).toBe('fulfilled-before')
    expect(await books()).toEqual({ remaining: 1, version: 1, taken: '1', changes: '1' })
    const messages = await said()
    const answers = messages.filter(({ destination }) => destination.startsWith('orders.fulfilled'))
    expect(answers.map(({ id }) => id)).toEqual([order, order])
    expect(messages.filter(({ destination }) => destination.startsWith('stock.changed'))).toHaveLength(1)
  }),
)

it('one that found the shelf empty is refused each time, and takes nothing when there would be enough for it', { timeout: 120_000 }, () =>
  withShelf(async ({ take, said, books }) => {
    const [big, unknown] = [randomUUID(), randomUUID()]
    expect([await take(big, 4), await take(big, 4)]).toEqual(['out-of-stock', 'out-of-stock'])
    expect(await take(unknown, 1, 999)).toBe('unknown-film')
    expect(await books()).toEqual({ remaining: 3, version: 0, taken: '0', changes: '0' })
    expect((await said()).map(({ id }) => id)).toEqual([big, big, unknown])
  }),
)
