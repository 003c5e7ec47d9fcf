import type { Film } from '@film-store/film-contracts'
import type { AcceptedOrder, PageView, Traffic } from '@film-store/shopper'
import { withClient } from './databases.ts'
import type { Store } from './store.ts'

/** One statement about the run that must be true. */
export interface Entry {
  readonly name: string
  readonly holds: boolean
  readonly detail: string
}

interface OrderRow {
  readonly id: string
  readonly filmId: number
  readonly quantity: number
  readonly priceCents: number
  readonly status: 'placed' | 'fulfilled' | 'rejected'
  readonly settlements: number
}
interface StockRow {
  readonly filmId: number
  readonly seeded: number
  readonly remaining: number
  readonly version: number
}
interface TakenRow {
  readonly orderId: string
  readonly filmId: number
  readonly quantity: number
}

/** Everything the databases know at the end of a run. */
export interface Ledger {
  readonly orders: readonly OrderRow[]
  readonly stock: readonly StockRow[]
  readonly taken: readonly TakenRow[]
  readonly history: readonly { filmId: number; version: number; changedAt: number }[]
  readonly projection: ReadonlyMap<number, { stock: number; version: number }>
  /** Messages that were written but not yet handed to the broker. */
  readonly waiting: number
}

const rowsOf = async <Row>(url: string, sql: string): Promise<Row[]> =>
  withClient(url, async (client) => (await client.query(sql)).rows as Row[])

export async function readLedger({ databases }: Store): Promise<Ledger> {
  const waitingSql = 'select count(*)::int as waiting from platform_outbox'
  const [orders, stock, taken, history, films, ordersOut, fulfilmentOut] = await Promise.all([
    rowsOf<OrderRow>(
      databases.orders,
      'select id, film_id as "filmId", quantity, price_cents as "priceCents", status, settlements from orders',
    ),
    rowsOf<StockRow>(databases.fulfilment, 'select film_id as "filmId", seeded, remaining, version from stock'),
    rowsOf<TakenRow>(databases.fulfilment, 'select order_id as "orderId", film_id as "filmId", quantity from taken'),
    rowsOf<{ filmId: number; version: number; changedAt: number }>(
      databases.fulfilment,
      `select film_id as "filmId", version, (extract(epoch from changed_at) * 1000)::float8 as "changedAt" from stock_history`,
    ),
    rowsOf<{ id: number; stock: number; version: number }>(databases.catalog, 'select id, stock, stock_version as version from films'),
    rowsOf<{ waiting: number }>(databases.orders, waitingSql),
    rowsOf<{ waiting: number }>(databases.fulfilment, waitingSql),
  ])
  return {
    orders,
    stock,
    taken,
    history,
    projection: new Map(films.map((film) => [film.id, film])),
    waiting: ordersOut[0]!.waiting + fulfilmentOut[0]!.waiting,
  }
}

/** True when nothing is under way any more: every accepted order is settled, every message handed over and every page's source up to date. */
export function isSettled(ledger: Ledger, accepted: readonly AcceptedOrder[]): boolean {
  return (
    ledger.waiting === 0 &&
    ledger.orders.length >= accepted.length &&
    ledger.orders.every((order) => order.status !== 'placed') &&
    ledger.stock.every((row) => ledger.projection.get(row.filmId)?.version === row.version)
  )
}

/** What the ledgers cannot say: `deadLettered` comes from the metrics of the services. */
interface Circumstances {
  readonly traffic: Traffic
  readonly films: readonly Film[]
  readonly staleBoundMs: number
  readonly deadLettered: number
}

export function checkBooks(ledger: Ledger, { traffic, films, staleBoundMs, deadLettered }: Circumstances): Entry[] {
  return [
    ordersKept(ledger, traffic.accepted),
    settledOnce(ledger),
    pricesRight(ledger, films),
    stockConserved(ledger),
    effectsMatch(ledger),
    messagesAccounted(ledger, deadLettered),
    projectionRight(ledger),
    pagesFresh(ledger, traffic.views, staleBoundMs),
    customersServed(traffic),
  ]
}

function entry(name: string, faults: readonly string[], detail: string): Entry {
  const holds = faults.length === 0
  return {
    name,
    holds,
    detail: holds ? detail : `${faults.slice(0, 3).join('; ')}${faults.length > 3 ? `; and ${faults.length - 3} more` : ''}`,
  }
}

function ordersKept({ orders }: Ledger, accepted: readonly AcceptedOrder[]): Entry {
  const byId = new Map(orders.map((order) => [order.id, order]))
  const lost = accepted.filter((order) => {
    const kept = byId.get(order.orderId)
    return kept?.filmId !== order.filmId || kept.quantity !== order.quantity
  })
  const extra = orders.length - new Set(accepted.map((order) => order.orderId)).size
  return entry(
    'every accepted order is kept, and no other',
    [
      ...lost.map((order) => `order ${order.orderId} is lost or changed`),
      ...(extra === 0 ? [] : [`${extra} orders that nobody was told of`]),
    ],
    `${orders.length} orders`,
  )
}

function settledOnce({ orders }: Ledger): Entry {
  const wrong = orders.filter((order) => order.status === 'placed' || order.settlements !== 1)
  const fulfilled = orders.filter((order) => order.status === 'fulfilled').length
  return entry(
    'every order is settled exactly once',
    wrong.map((order) => `order ${order.id} is ${order.status}, settled ${order.settlements} times`),
    `${fulfilled} fulfilled, ${orders.length - fulfilled} rejected`,
  )
}

function pricesRight({ orders }: Ledger, films: readonly Film[]): Entry {
  const prices = new Map(films.map((film) => [film.id, film.priceCents]))
  const wrong = orders.filter((order) => prices.get(order.filmId) !== order.priceCents)
  return entry(
    "every order carries its film's price",
    wrong.map((order) => `order ${order.id} has ${order.priceCents}`),
    `${orders.length} prices`,
  )
}

function stockConserved({ stock, taken }: Ledger): Entry {
  const sold = new Map<number, number>()
  for (const line of taken) sold.set(line.filmId, (sold.get(line.filmId) ?? 0) + line.quantity)
  const wrong = stock.filter((row) => row.remaining < 0 || (sold.get(row.filmId) ?? 0) + row.remaining !== row.seeded)
  const total = (pick: (row: StockRow) => number) => stock.reduce((all, row) => all + pick(row), 0)
  return entry(
    'stock sold + stock left = stock seeded, film by film',
    wrong.map((row) => `film ${row.filmId}: ${sold.get(row.filmId) ?? 0} + ${row.remaining} is not ${row.seeded}`),
    `${total((row) => row.seeded - row.remaining)} + ${total((row) => row.remaining)} = ${total((row) => row.seeded)}`,
  )
}

function effectsMatch({ orders, taken }: Ledger): Entry {
  const lines = new Map(taken.map((line) => [line.orderId, line]))
  const wrong = orders.filter((order) => {
    const line = lines.get(order.id)
    if (order.status !== 'fulfilled') return line !== undefined
    return line?.filmId !== order.filmId || line.quantity !== order.quantity
  })
  const fulfilled = orders.filter((order) => order.status === 'fulfilled').length
  return entry(
    'stock was taken for exactly the fulfilled orders',
    [
      ...wrong.map((order) => `order ${order.id} is ${order.status}`),
      ...(lines.size === fulfilled ? [] : [`${lines.size} lines, ${fulfilled} fulfilled`]),
    ],
    `${lines.size} lines`,
  )
}

function messagesAccounted({ waiting, orders, history }: Ledger, deadLettered: number): Entry {
  return entry(
    'every message was handed over and had its effect',
    [
      ...(waiting === 0 ? [] : [`${waiting} messages still wait in an outbox`]),
      ...(deadLettered === 0 ? [] : [`${deadLettered} messages failed for good`]),
    ],
    `${orders.length} placed, ${orders.length} settled, ${history.length} stock changes`,
  )
}

function projectionRight({ stock, projection }: Ledger): Entry {
  const wrong = stock.filter((row) => {
    const shown = projection.get(row.filmId)
    return shown?.stock !== row.remaining || shown.version !== row.version
  })
  return entry(
    "the catalog's stock equals fulfilment's",
    wrong.map((row) => `film ${row.filmId}: ${projection.get(row.filmId)?.stock} is not ${row.remaining}`),
    `${stock.length} films`,
  )
}

/** A page is too old when the version after the one that it shows had been true for longer than the bound as the page was asked for. */
function pagesFresh({ history }: Ledger, views: readonly PageView[], boundMs: number): Entry {
  const changedAt = new Map(history.map((change) => [`${change.filmId}|${change.version}`, change.changedAt]))
  let oldestMs = 0
  const tooOld: string[] = []
  for (const view of views) {
    const replacedAt = changedAt.get(`${view.filmId}|${view.stockVersion + 1}`)
    if (replacedAt === undefined) continue
    const ageMs = view.askedAt - replacedAt
    oldestMs = Math.max(oldestMs, ageMs)
    if (ageMs > boundMs) tooOld.push(`a page of film ${view.filmId} was ${Math.round(ageMs)} ms behind`)
  }
  return entry(`no page is older than ${boundMs / 1000} s`, tooOld, `${views.length} pages, the oldest ${Math.round(oldestMs)} ms behind`)
}

function customersServed({ unexpected, views }: Traffic): Entry {
  return entry('no customer got an error', unexpected, `${views.length} pages`)
}
