/**
 * A film store in one process, for tests of the books: right in everything, until a break is switched on. It takes requests on two ports as the
 * instances do, so that what the books are told comes from real customers.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Film } from '@film-store/film-contracts'
import type { CatalogRow, HistoryRow, Ledger, OrderRow, StockRow, TakenRow } from './ledger.ts'

type Mutable<Row> = { -readonly [Key in keyof Row]: Row[Key] }

export interface Kept {
  readonly orders: Mutable<OrderRow>[]
  readonly stock: Mutable<StockRow>[]
  readonly taken: Mutable<TakenRow>[]
  readonly history: Mutable<HistoryRow>[]
  readonly projection: Map<number, Mutable<CatalogRow>>
  waiting: number
  handled: { orders: number; fulfilment: number }
}

/** Where a line of the services can be broken; each gets what would be right. */
export interface Broken {
  page?(page: Record<string, unknown>): unknown
  found?(films: Record<string, unknown>[]): unknown
  answer?(order: Record<string, unknown>, orders: readonly OrderRow[]): unknown
  /** Whether an order is fulfilled. */
  decide?(enough: boolean): boolean
  /** The status of every answer of the second instance. */
  second?: number
  /** What the databases say in the end. */
  kept?(kept: Kept): void
}

export interface BreakableStore {
  readonly urls: readonly string[]
  ledger(): Ledger
  close(): void
}

export async function openBreakableStore(films: readonly Film[], broken: Broken): Promise<BreakableStore> {
  const shelves = new Map(films.map((film) => [film.id, { film, remaining: film.stock, version: 0 }]))
  const orders: Mutable<OrderRow>[] = []
  const taken: TakenRow[] = []
  const history: HistoryRow[] = []

  const summary = ({ id, title, releasedOn, priceCents }: Film) => ({ id, title, releasedOn, priceCents })
  const page = (id: number) => {
    const { film, remaining, version } = shelves.get(id)!
    const { genre, director, rating } = film
    return { ...summary(film), genre, director, rating, stock: remaining, stockVersion: version }
  }
  const find = (query: string) =>
    films
      .filter(({ title }) => title.toLowerCase().split(/\s+/).includes(query.toLowerCase()))
      .toSorted((a, b) => b.votes - a.votes || a.id - b.id)
      .slice(0, 20)
      .map(summary)
  const place = (key: string, filmId: number, quantity: number): OrderRow => {
    const shelf = shelves.get(filmId)!
    const enough = shelf.remaining >= quantity
    const fulfilled = broken.decide?.(enough) ?? enough
    const id = `order-${orders.length + 1}`
    const settledAt = performance.timeOrigin + performance.now()
    const priceCents = shelf.film.priceCents
    const order: OrderRow = {
      id,
      key,
      filmId,
      quantity,
      priceCents,
      status: fulfilled ? 'fulfilled' : 'rejected',
      settlements: 1,
      settledAt,
    }
    orders.push(order)
    if (!fulfilled) return order
    shelf.remaining -= quantity
    const change = { filmId, version: ++shelf.version }
    taken.push({ ...change, orderId: id, quantity })
    history.push({ ...change, changedAt: settledAt })
    return order
  }

  const answer = async (request: IncomingMessage): Promise<unknown> => {
    const url = new URL(request.url!, 'http://store')
    if (request.method === 'POST') {
      const { filmId, quantity } = JSON.parse(await textOf(request)) as { filmId: number; quantity: number }
      const key = String(request.headers['idempotency-key'])
      const order = orders.find((each) => each.key === key) ?? place(key, filmId, quantity)
      const shown = { id: order.id, filmId, quantity, priceCents: order.priceCents, status: 'placed' }
      return broken.answer ? broken.answer(shown, orders) : shown
    }
    if (url.pathname === '/films') {
      const found = find(url.searchParams.get('query')!)
      return broken.found ? broken.found(found) : { films: found }
    }
    const shown = page(Number(url.pathname.split('/').at(-1)))
    return broken.page ? broken.page(shown) : shown
  }

  const instances = await Promise.all(
    [undefined, broken.second].map((status) =>
      listen(async (request) => (status === undefined ? { status: 200, body: await answer(request) } : { status, body: {} })),
    ),
  )
  return {
    urls: instances.map((instance) => `http://127.0.0.1:${(instance.address() as AddressInfo).port}`),
    ledger() {
      const kept: Kept = {
        orders: structuredClone(orders),
        stock: films.map(({ id, stock }) => ({ filmId: id, seeded: stock, ...pick(shelves.get(id)!) })),
        taken: structuredClone(taken),
        history: structuredClone(history),
        projection: new Map(films.map(({ id }) => [id, asRow(page(id))])),
        waiting: 0,
        handled: { orders: orders.length, fulfilment: orders.length },
      }
      broken.kept?.(kept)
      return kept
    },
    close() {
      for (const instance of instances) instance.close()
    },
  }
}

const pick = ({ remaining, version }: { remaining: number; version: number }) => ({ remaining, version })
const asRow = ({ stockVersion, ...page }: Omit<CatalogRow, 'version'> & { stockVersion: number }) => ({ ...page, version: stockVersion })

async function textOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const piece of request.setEncoding('utf8')) text += String(piece)
  return text
}

function listen(answer: (request: IncomingMessage) => Promise<{ status: number; body: unknown }>): Promise<Server> {
  return new Promise((resolve) => {
    const server = createServer((request, response) => {
      void answer(request).then(({ status, body }) => response.writeHead(status).end(body === undefined ? '' : JSON.stringify(body)))
    })
    server.listen(0, '127.0.0.1', () => resolve(server))
  })
}
