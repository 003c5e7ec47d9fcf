import { type Film, readFilms } from '@film-store/film-contracts'
import { shop, type Traffic } from '@film-store/shopper'
import { afterAll, describe, expect, it } from 'vitest'
import { type Broken, type Kept, openBreakableStore } from './books/breakable-store.ts'
import { checkBooks, type Circumstances, isSettled, type Ledger } from './books.ts'

/** Eight films of the source, so few copies of each that some orders come too late. */
const films: Film[] = (await readFilms()).films
  .filter(({ votes }) => votes > 1_000)
  .slice(0, 8)
  .map((film) => ({ ...film, stock: 3 }))
/** A page of this store is never behind by more than the rounding of two clocks. */
const staleBoundMs = 20
const calm = { films, staleBoundMs, deadLettered: 0 }

interface Run {
  readonly ledger: Ledger
  readonly traffic: Traffic
  readonly seed: number
}

/** Customers visit a store in which one thing is broken. */
async function visit(broken: Broken = {}): Promise<Run> {
  const seed = Math.floor(Math.random() * 1_000_000)
  const store = await openBreakableStore(films, broken)
  try {
    const places = { catalogUrls: store.urls, ordersUrls: store.urls }
    const traffic = await shop({ ...places, films, orders: 40, pace: { kind: 'rush', concurrency: 4 }, seed })
    return { ledger: store.ledger(), traffic, seed }
  } finally {
    store.close()
  }
}

function faultsOf({ ledger, traffic }: Run, other: Partial<Circumstances> = {}): string[] {
  return checkBooks(ledger, { ...calm, traffic, ...other })
    .filter((entry) => !entry.holds)
    .map((entry) => entry.name)
}

const kept = 'every accepted order is kept as it was, and no other'
const once = 'every order is settled exactly once'
const price = "every order carries its film's price"
const justified = 'every rejection is justified by the stock'
const conserved = "stock sold + stock left = the source's stock, by film"
const effects = 'stock was taken for exactly the fulfilled orders'
const whole = 'the history has every change of every stock'
const messages = 'every message was handed over and had its effect'
const catalog = "the catalog is the source's, with the stock left"
const pages = 'every page is its film, with the stock of its version'
const fresh = 'no page is older than 0.02 s'
const searches = 'every search finds what the source says'
const served = 'no customer got an error'
const again = 'few requests were sent again'
const came = 'customers came, and all that they did is recorded'

const inDatabases = (change: (kept: Kept) => void): Broken => ({ kept: change })
const ofStatus = (all: Kept, status: string) => all.orders.find((order) => order.status === status)!
const onPages = (change: object): Broken => ({ page: (page) => ({ ...page, ...change }) })

/** What is broken, which statements must tell of it, and the broken line: of a service, or of what the databases say in the end. */
const breaks: [what: string, caughtBy: string[], broken: Broken][] = [
  ["an order is answered with a stranger's number", [kept], { answer: (order, [first]) => ({ ...order, id: first!.id }) }],
  ['an order is answered without a number', [kept], { answer: () => ({}) }],
  ['a customer is shown another price', [price], { answer: (order) => ({ ...order, priceCents: 1 }) }],
  ['everything is rejected with stock there', [justified], { decide: () => false }],
  ['more is sold than there was', [conserved], { decide: () => true }],
  ['pages show no version', [pages], onPages({ stockVersion: undefined })],
  ['pages show a version that never was', [pages], onPages({ stockVersion: 77 })],
  ['pages show the stock of another version', [pages], { page: (page) => ({ ...page, stock: Number(page['stock']) + 1 }) }],
  ['pages have no content', [pages], { page: () => undefined }],
  ['pages have another price', [pages], onPages({ priceCents: 1 })],
  ['pages have another text', [pages], onPages({ director: 'Alan Smithee' })],
  ['pages are of another film', [pages], onPages({ id: films[0]!.id })],
  ['pages are those of the first day', [fresh], onPages({ stock: 3, stockVersion: 0 })],
  ['searches find nothing', [searches], { found: () => ({ films: [] }) }],
  ['searches have no content', [searches], { found: () => ({}) }],
  ['searches find what nobody asked for', [searches], { found: (found) => ({ films: [...found, ...films] }) }],
  ['searches show another price', [searches], { found: (found) => ({ films: found.map((film) => ({ ...film, priceCents: 1 })) }) }],
  ['one instance always answers 500', [served], { second: 500 }],
  ['one instance always answers 404', [served], { second: 404 }],
  ['one instance always answers 503', [again], { second: 503 }],
  ['an order is lost', [kept], inDatabases((all) => void all.orders.pop())],
  [
    'an order is kept that nobody was told of',
    [kept],
    inDatabases((all) => void all.orders.push({ ...all.orders[0]!, id: 'more', key: 'more' })),
  ],
  [
    'two orders are swapped',
    [kept],
    inDatabases(({ orders }) => {
      const other = orders.find(({ filmId, quantity }) => filmId !== orders[0]!.filmId || quantity !== orders[0]!.quantity)!
      const { filmId, quantity } = other
      Object.assign(other, { filmId: orders[0]!.filmId, quantity: orders[0]!.quantity })
      Object.assign(orders[0]!, { filmId, quantity })
    }),
  ],
  ['an order is settled twice', [once, messages], inDatabases(({ orders }) => void (orders[0]!.settlements = 2))],
  [
    'an order never settles',
    [once, messages],
    inDatabases(({ orders }) => void Object.assign(orders[0]!, { status: 'placed', settlements: 0 })),
  ],
  ['a price is kept wrong', [price], inDatabases(({ orders }) => void (orders[0]!.priceCents = 1))],
  [
    'one order is rejected with stock there',
    [justified],
    inDatabases((all) => void Object.assign(ofStatus(all, 'fulfilled'), { status: 'rejected', settledAt: 0 })),
  ],
  ['a rejected order is called fulfilled', [effects], inDatabases((all) => void (ofStatus(all, 'rejected').status = 'fulfilled'))],
  ['stock is taken twice for an order', [effects, conserved], inDatabases(({ taken }) => void taken.push({ ...taken[0]!, version: 99 }))],
  ['stock is taken for nobody', [effects], inDatabases(({ taken }) => void taken.push({ ...taken[0]!, orderId: 'nobody', version: 99 }))],
  ['stock is gone without a sale', [conserved], inDatabases(({ stock }) => void stock[0]!.remaining--)],
  ['less is taken than was ordered', [effects], inDatabases(({ taken }) => void (taken[0]!.quantity = 0))],
  [
    'other stock was put in than the source has',
    [conserved],
    inDatabases(({ stock }) => void Object.assign(stock[0]!, { seeded: 503, remaining: stock[0]!.remaining + 500 })),
  ],
  ['a film was never put in stock', [conserved], inDatabases(({ stock }) => void stock.pop())],
  ['no history is written', [whole], inDatabases(({ history }) => void history.splice(0))],
  ['a version is missing from the history', [whole], inDatabases(({ history }) => void history.pop())],
  ['a version is there twice', [whole], inDatabases(({ history }) => void history.push(history[0]!))],
  [
    'two orders took the same version',
    [whole],
    inDatabases(({ taken }) => void Object.assign(taken.find(({ version }) => version === 2)!, { version: 1 })),
  ],
  [
    'a version is older than the one before',
    [whole],
    inDatabases(({ history }) => void (history.find(({ version }) => version === 2)!.changedAt -= 60_000)),
  ],
  [
    'pages show a version before it is true',
    [pages],
    inDatabases(({ history }) => history.forEach((change) => (change.changedAt += 60_000))),
  ],
  ['a message still waits', [messages], inDatabases((all) => void all.waiting++)],
  ['a message never arrived', [messages], inDatabases((all) => void all.handled.fulfilment--)],
  ['a message had two effects', [messages], inDatabases((all) => void all.handled.orders++)],
  [
    'the catalog missed a change',
    [catalog],
    inDatabases(({ projection }) => void Object.assign(projection.get(films[0]!.id)!, { stock: 3, version: 77 })),
  ],
  ['the catalog has another title', [catalog], inDatabases(({ projection }) => void (projection.get(films[0]!.id)!.title = 'Another'))],
  ['the catalog lacks a film', [catalog], inDatabases(({ projection }) => void projection.delete(films[0]!.id))],
]

describe('the books', () => {
  const table: string[] = []
  afterAll(() => console.log(`What each break was caught by:\n${table.join('\n')}`))

  it('balance when everything is right', async () => {
    const run = await visit()
    expect(checkBooks(run.ledger, { ...calm, traffic: run.traffic }).filter((entry) => !entry.holds)).toEqual([])
    expect(new Set(run.ledger.orders.map(({ status }) => status)), `seed ${run.seed}`).toEqual(new Set(['fulfilled', 'rejected']))
  })

  it.each(breaks)('do not balance when %s', async (what, caughtBy, broken) => {
    const run = await visit(broken)
    const found = faultsOf(run)
    table.push(`  ${what.padEnd(48)} ${found.join('; ') || 'NOTHING'}`)
    expect(found, `seed ${run.seed}`).toEqual(expect.arrayContaining(caughtBy))
  })

  it('do not balance when what they are held against is missing', async () => {
    const run = await visit()
    const without = (missing: Partial<Traffic>) => faultsOf({ ...run, traffic: { ...run.traffic, ...missing } })
    expect(faultsOf(run, { deadLettered: undefined })).toEqual([messages])
    expect(faultsOf(run, { deadLettered: 1 })).toEqual([messages])
    expect(without({ views: [] })).toEqual([came])
    expect(without({ views: run.traffic.views.slice(1) })).toEqual([came])
    expect(without({ searches: [] })).toEqual([came])
    expect(without({ searches: undefined as never })).toEqual([searches, came])
    expect(without({ accepted: [] })).toEqual(expect.arrayContaining([came, kept]))
    expect(without({ passes: undefined as never })).toEqual([again])
    expect(without({ requests: 0 })).toEqual([again])
    const nothing: Ledger = {
      orders: [],
      stock: [],
      taken: [],
      history: [],
      projection: new Map(),
      waiting: 0,
      handled: { orders: 0, fulfilment: 0 },
    }
    expect(faultsOf({ ...run, ledger: nothing })).toEqual(expect.arrayContaining([kept, conserved, catalog, pages]))
  })

  it('wait until nothing is under way', async () => {
    const { ledger, traffic } = await visit()
    expect(isSettled(ledger, traffic.accepted)).toBe(true)
    expect(isSettled({ ...ledger, waiting: 1 }, traffic.accepted)).toBe(false)
    expect(isSettled({ ...ledger, orders: ledger.orders.slice(1) }, traffic.accepted)).toBe(false)
    expect(isSettled({ ...ledger, projection: new Map() }, traffic.accepted)).toBe(false)
  })
})
