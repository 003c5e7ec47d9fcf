import type { Film } from '@film-store/film-contracts'
import { createRandom, type Random, weighted } from './random.ts'
import { createShopfront } from './shopfront.ts'

export interface ShopOptions {
  readonly catalogUrls: readonly string[]
  readonly ordersUrls: readonly string[]
  readonly films: readonly Film[]
  /** Orders to place in all. */
  readonly orders: number
  /** Customers at the same time. */
  readonly concurrency: number
  /** Page views for each order. Default 40: a conversion of 2.5 %. */
  readonly viewsPerOrder?: number
  readonly seed: number
  readonly signal?: AbortSignal
  /** Customers go on beyond `orders` for as long as it says so. Default: they do not. */
  goOn?(): boolean
  onProgress?(done: { orders: number; views: number }): void
}

/** One film page as a customer saw it: which version of the stock it showed, and when it was asked for. */
export interface PageView {
  readonly filmId: number
  readonly stockVersion: number
  /** Milliseconds since 1970, to be compared with the database's commit times on the same machine. */
  readonly askedAt: number
}

export interface AcceptedOrder {
  readonly orderId: string
  readonly filmId: number
  readonly quantity: number
}

export interface Traffic {
  readonly views: readonly PageView[]
  readonly accepted: readonly AcceptedOrder[]
  /** Answers that a customer should not have got, a line each. */
  readonly unexpected: readonly string[]
  readonly searches: number
  readonly viewDurationsMs: readonly number[]
  readonly orderDurationsMs: readonly number[]
  /** Requests that were sent again because an instance gave no answer. */
  readonly passedOver: number
  readonly durationMs: number
}

/** Customers look at films, drawn by their real votes, search now and then, and order one of what they saw. */
export async function shop(options: ShopOptions): Promise<Traffic> {
  const { films, orders, concurrency, viewsPerOrder = 40, signal } = options
  const catalog = createShopfront(options.catalogUrls)
  const desk = createShopfront(options.ordersUrls)
  const drawFilm = weighted(films.map((film) => film.votes))
  const views: PageView[] = []
  const accepted: AcceptedOrder[] = []
  const unexpected: string[] = []
  const viewDurationsMs: number[] = []
  const orderDurationsMs: number[] = []
  let searches = 0
  let started = 0

  const search = async (random: Random) => {
    searches++
    const word = films[drawFilm(random)]!.title.split(/\s+/)[0]!
    const { status } = await catalog.request(`/films?query=${encodeURIComponent(word)}`, { ...(signal && { signal }) })
    if (status !== 200) unexpected.push(`search for "${word}": ${status}`)
  }

  const view = async (film: Film) => {
    const askedAt = Date.now()
    const { status, body, durationMs } = await catalog.request(`/films/${film.id}`, { ...(signal && { signal }) })
    viewDurationsMs.push(durationMs)
    if (status !== 200) return void unexpected.push(`page of film ${film.id}: ${status}`)
    views.push({ filmId: film.id, stockVersion: (body as { stockVersion: number }).stockVersion, askedAt })
  }

  const order = async (film: Film, random: Random) => {
    const orderId = random.uuid()
    const quantity = 1 + random.below(2)
    const { status, body, durationMs } = await desk.request('/orders', {
      method: 'POST',
      headers: { 'idempotency-key': orderId },
      body: { filmId: film.id, quantity },
      ...(signal && { signal }),
    })
    orderDurationsMs.push(durationMs)
    if (status !== 201 && status !== 200) return void unexpected.push(`order of film ${film.id}: ${status} ${JSON.stringify(body)}`)
    accepted.push({ orderId: (body as { id: string }).id, filmId: film.id, quantity })
  }

  const customer = async () => {
    while (started < orders || options.goOn?.()) {
      signal?.throwIfAborted()
      const random = createRandom(options.seed * 1_000_003 + started++)
      let seen = films[0]!
      const searchAt = random.below(viewsPerOrder)
      // Some make up their mind at once and look on afterwards: customers who all order after their last view come in waves.
      const orderAt = random.below(viewsPerOrder)
      for (let i = 0; i < viewsPerOrder; i++) {
        if (i === searchAt) await search(random)
        const film = films[drawFilm(random)]!
        if (i === 0 || random.next() < 0.2) seen = film
        await view(film)
        if (i === orderAt) await order(seen, random)
      }
      options.onProgress?.({ orders: accepted.length, views: views.length })
    }
  }

  const startedAt = performance.now()
  try {
    await Promise.all(Array.from({ length: Math.min(concurrency, orders) }, customer))
  } finally {
    await Promise.all([catalog.close(), desk.close()])
  }
  return {
    views,
    accepted,
    unexpected,
    searches,
    viewDurationsMs,
    orderDurationsMs,
    passedOver: catalog.stats().passedOver + desk.stats().passedOver,
    durationMs: performance.now() - startedAt,
  }
}
