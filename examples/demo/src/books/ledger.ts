import type { Film } from '@film-store/film-contracts'
import { withClient } from '../databases.ts'
import type { Store } from '../store.ts'

export interface OrderRow {
  readonly id: string
  /** The idempotency key that its customer sent. */
  readonly key: string
  readonly filmId: number
  readonly quantity: number
  readonly priceCents: number
  readonly status: 'placed' | 'fulfilled' | 'rejected'
  readonly settlements: number
  /** Milliseconds since 1970, as every moment in here; null while it is not settled. */
  readonly settledAt: number | null
}

export interface StockRow {
  readonly filmId: number
  readonly seeded: number
  readonly remaining: number
  readonly version: number
}

export interface TakenRow {
  readonly orderId: string
  readonly filmId: number
  readonly quantity: number
  /** Which change of the film's stock it was. */
  readonly version: number
}

export interface HistoryRow {
  readonly filmId: number
  readonly version: number
  readonly changedAt: number
}

export interface CatalogRow extends Omit<Film, 'votes'> {
  readonly version: number
}

/** Everything the databases know at the end of a run. */
export interface Ledger {
  readonly orders: readonly OrderRow[]
  readonly stock: readonly StockRow[]
  readonly taken: readonly TakenRow[]
  readonly history: readonly HistoryRow[]
  /** What the catalog shows, by film. */
  readonly projection: ReadonlyMap<number, CatalogRow>
  /** Messages that were written but not yet handed to the broker. */
  readonly waiting: number
  /** Messages that had their effect at the receiver's end, by receiver. */
  readonly handled: Readonly<Record<'orders' | 'fulfilment', number>>
}

const rowsOf = async <Row>(url: string, sql: string): Promise<Row[]> =>
  withClient(url, async (client) => (await client.query(sql)).rows as Row[])

const millis = (column: string) => `(extract(epoch from ${column}) * 1000)::float8`

export async function readLedger({ databases }: Pick<Store, 'databases'>): Promise<Ledger> {
  const waitingSql = 'select count(*)::int as count from platform_outbox'
  const handledSql = 'select count(*)::int as count from platform_inbox'
  const countOf = async (url: string, sql: string) => (await rowsOf<{ count: number }>(url, sql))[0]!.count
  const { orders, fulfilment, catalog } = databases
  const [orderRows, stock, taken, history, films, ...counts] = await Promise.all([
    rowsOf<OrderRow>(
      orders,
      `select id, idempotency_key as key, film_id as "filmId", quantity, price_cents as "priceCents", status, settlements,
              ${millis('settled_at')} as "settledAt" from orders`,
    ),
    rowsOf<StockRow>(fulfilment, 'select film_id as "filmId", seeded, remaining, version from stock'),
    rowsOf<TakenRow>(fulfilment, 'select order_id as "orderId", film_id as "filmId", quantity, version from taken'),
    rowsOf<HistoryRow>(fulfilment, `select film_id as "filmId", version, ${millis('changed_at')} as "changedAt" from stock_history`),
    rowsOf<CatalogRow>(
      catalog,
      `select id, title, released_on::text as "releasedOn", genre, director, rating, price_cents as "priceCents", stock,
              stock_version as version from films`,
    ),
    countOf(orders, waitingSql),
    countOf(fulfilment, waitingSql),
    countOf(orders, handledSql),
    countOf(fulfilment, handledSql),
  ])
  const [ordersWait, fulfilmentWaits, ordersHandled, fulfilmentHandled] = counts as [number, number, number, number]
  return {
    orders: orderRows,
    stock,
    taken,
    history,
    projection: new Map(films.map((film) => [film.id, film])),
    waiting: ordersWait + fulfilmentWaits,
    handled: { orders: ordersHandled, fulfilment: fulfilmentHandled },
  }
}

/** True when nothing is under way any more: every accepted order is settled, every message handed over and every page's source up to date. */
export function isSettled(ledger: Pick<Ledger, 'waiting' | 'orders' | 'stock' | 'projection'>, accepted: readonly unknown[]): boolean {
  return (
    ledger.waiting === 0 &&
    ledger.orders.length >= accepted.length &&
    ledger.orders.every((order) => order.status !== 'placed') &&
    ledger.stock.every((row) => ledger.projection.get(row.filmId)?.version === row.version)
  )
}
