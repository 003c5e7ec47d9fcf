import type { Film } from '@film-store/film-contracts'
import type { Traffic } from '@film-store/shopper'
import { describe, expect, it } from 'vitest'
import { checkBooks, isSettled, type Ledger } from './books.ts'

const films = [{ id: 1, priceCents: 900 }] as unknown as Film[]
const accepted = [
  { orderId: 'a', filmId: 1, quantity: 2 },
  { orderId: 'b', filmId: 1, quantity: 9 },
]
const settled = { filmId: 1, priceCents: 900, settlements: 1 }

/** One film of five copies: an order that took two, and one that wanted more than there were. */
const right: Ledger = {
  orders: [
    { ...settled, id: 'a', quantity: 2, status: 'fulfilled' },
    { ...settled, id: 'b', quantity: 9, status: 'rejected' },
  ],
  stock: [{ filmId: 1, seeded: 5, remaining: 3, version: 1 }],
  taken: [{ orderId: 'a', filmId: 1, quantity: 2 }],
  history: [{ filmId: 1, version: 1, changedAt: 10_000 }],
  projection: new Map([[1, { stock: 3, version: 1 }]]),
  waiting: 0,
}
const quiet = {
  accepted,
  unexpected: [] as string[],
  views: [
    { filmId: 1, stockVersion: 0, askedAt: 14_000 },
    { filmId: 1, stockVersion: 1, askedAt: 99_000 },
  ],
}

function broken(ledger: Partial<Ledger>, traffic: Partial<typeof quiet> = {}, deadLettered = 0): string[] {
  const circumstances = { traffic: { ...quiet, ...traffic } as unknown as Traffic, films, staleBoundMs: 5_000, deadLettered }
  return checkBooks({ ...right, ...ledger }, circumstances)
    .filter((entry) => !entry.holds)
    .map((entry) => entry.name)
}

const [first, second] = right.orders as [Ledger['orders'][number], Ledger['orders'][number]]
const kept = 'every accepted order is kept, and no other'
const once = 'every order is settled exactly once'
const effects = 'stock was taken for exactly the fulfilled orders'
const conserved = 'stock sold + stock left = stock seeded, film by film'

describe('the books', () => {
  it('balance when everything is right', () => expect(broken({})).toEqual([]))

  const faults: [what: string, names: string[], found: () => string[]][] = [
    ['an order is lost', [kept], () => broken({ orders: [first] })],
    ['an order is there that nobody was told of', [kept], () => broken({ orders: [...right.orders, { ...second, id: 'c' }] })],
    ['an order is settled twice', [once], () => broken({ orders: [first, { ...second, settlements: 2 }] })],
    ['an order never settles', [once], () => broken({ orders: [first, { ...second, status: 'placed', settlements: 0 }] })],
    ['a price is wrong', ["every order carries its film's price"], () => broken({ orders: [{ ...first, priceCents: 1 }, second] })],
    ['stock is gone without a sale', [conserved], () => broken({ stock: [{ ...right.stock[0]!, seeded: 6 }] })],
    ['a fulfilled order took nothing', [conserved, effects], () => broken({ taken: [] })],
    ['a rejected order took stock', [effects], () => broken({ orders: [{ ...first, status: 'rejected' }, second] })],
    ['a message still waits', ['every message was handed over and had its effect'], () => broken({ waiting: 1 })],
    ['a message failed for good', ['every message was handed over and had its effect'], () => broken({}, {}, 1)],
    ['the catalog shows other stock', ["the catalog's stock equals fulfilment's"], () => broken({ projection: new Map() })],
    [
      'a page is older than the bound',
      ['no page is older than 5 s'],
      () => broken({}, { views: [{ filmId: 1, stockVersion: 0, askedAt: 15_001 }] }),
    ],
    ['a customer got an error', ['no customer got an error'], () => broken({}, { unexpected: ['page of film 1: 500'] })],
  ]
  it.each(faults)('do not balance when %s', (_what, names, found) => expect(found()).toEqual(names))

  it('wait until nothing is under way', () => {
    expect(isSettled(right, accepted)).toBe(true)
    expect(isSettled({ ...right, waiting: 1 }, accepted)).toBe(false)
    expect(isSettled({ ...right, orders: [first] }, accepted)).toBe(false)
    expect(isSettled({ ...right, projection: new Map() }, accepted)).toBe(false)
  })
})
