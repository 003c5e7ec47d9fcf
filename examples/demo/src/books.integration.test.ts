import { readFilms } from '@film-store/film-contracts'
import { shop, type Traffic } from '@film-store/shopper'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checkBooks, deadLettered, type Entry, type Ledger, readLedger } from './books.ts'
import { withClient } from './databases.ts'
import { scrape } from './scrape.ts'
import { builtCode } from './services.ts'
import { openStore, type Store } from './store.ts'
import { settle } from './trade.ts'

const { films } = await readFilms()

describe('the books of a real store', () => {
  let store: Store
  let traffic: Traffic
  let ledger: Ledger
  let dead: number | undefined
  beforeAll(async () => {
    store = await openStore({ mode: 'embedded', launcher: builtCode, onProgress: () => {} })
    // A slow machine under other tests may answer 503 a few times before all is warm.
    traffic = await shop({ ...store, films, orders: 60, pace: { kind: 'rush', concurrency: 10 }, seed: 7 })
    ledger = await settle(store, traffic, new AbortController().signal)
    dead = deadLettered(await scrape(store))
    await store.close() // a database that is in use cannot be copied
  }, 240_000)
  afterAll(async () => {
    await store?.[Symbol.asyncDispose]()
  })

  const faults = (read: Ledger): Entry[] =>
    checkBooks(read, { traffic, films, staleBoundMs: 60_000, deadLettered: dead }).filter((entry) => !entry.holds)

  it('balance', () => {
    expect(faults(ledger)).toEqual([])
    expect(ledger.orders).toHaveLength(60)
    expect(dead).toBe(0)
  })

  const breaks: [what: string, database: 'catalog' | 'orders' | 'fulfilment', sql: string, named: string][] = [
    [
      'an order is deleted',
      'orders',
      'delete from orders where id = (select min(id::text)::uuid from orders)',
      'every accepted order is kept',
    ],
    ['a price is changed', 'orders', 'update orders set price_cents = price_cents + 1', "every order carries its film's price"],
    ['orders are settled twice', 'orders', 'update orders set settlements = 2', 'every order is settled exactly once'],
    ['a message is forgotten', 'orders', 'delete from platform_inbox', 'every message was handed over'],
    ['the history is deleted', 'fulfilment', 'delete from stock_history', 'the history has every change'],
    ['stock is taken back', 'fulfilment', 'delete from taken', 'stock was taken for exactly the fulfilled orders'],
    ['stock appears', 'fulfilment', 'update stock set seeded = seeded + 1, remaining = remaining + 1', 'stock sold + stock left'],
    ['a film is renamed', 'catalog', "update films set title = 'Another' where id = 1", "the catalog is the source's"],
  ]
  it.each(breaks)('do not balance when %s', async (_what, database, sql, named) => {
    await using copy = await copyOf(store.databases[database])
    await withClient(copy.url, (client) => client.query(sql))
    const found = faults(await readLedger({ databases: { ...store.databases, [database]: copy.url } }))
    expect(found.map(({ name }) => name).join('; ')).toContain(named)
  })
})

/** The same rows in a database of its own. */
async function copyOf(url: string): Promise<{ url: string } & AsyncDisposable> {
  const copy = new URL(url)
  const name = copy.pathname.slice(1)
  const administer = (statement: string) => withClient(new URL('/postgres', url).href, (client) => client.query(statement))
  await administer(`create database ${name}_copy template ${name}`)
  copy.pathname = `/${name}_copy`
  return { url: copy.href, [Symbol.asyncDispose]: async () => void (await administer(`drop database ${name}_copy with (force)`)) }
}
