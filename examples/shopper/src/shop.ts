import type { Film } from '@film-store/film-contracts'
import { arrive, type Pace } from './pace.ts'
import { createShopfront } from './shopfront.ts'
import { planVisits, type Step } from './visit.ts'

export interface ShopOptions {
  readonly catalogUrls: readonly string[]
  readonly ordersUrls: readonly string[]
  readonly films: readonly Film[]
  /** Orders to place in all: one for each customer. */
  readonly orders: number
  readonly pace: Pace
  readonly seed: number
  /** The number of the first customer. Default 0; the same number of the same seed does the same again. */
  readonly firstCustomer?: number
  readonly signal?: AbortSignal
  /** In a rush, customers go on beyond `orders` for as long as it says so. Default: they do not. */
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
  /** From the moment that each was meant for: in a rush when it was sent, at a steady pace when the clock said so. Requests sent again included. */
  readonly viewDurationsMs: readonly number[]
  readonly orderDurationsMs: readonly number[]
  /** Requests that were sent again because an instance gave no answer. */
  readonly passedOver: number
  readonly durationMs: number
}

/** Customers look at films, search now and then, and order one of what they saw, at the pace that is asked for. */
export async function shop(options: ShopOptions): Promise<Traffic> {
  const { films, orders, pace, seed, firstCustomer = 0, signal } = options
  const catalog = createShopfront(options.catalogUrls)
  const desk = createShopfront(options.ordersUrls)
  const planned = planVisits(films, seed)
  const abortable = signal ? { signal } : {}
  const views: PageView[] = []
  const accepted: AcceptedOrder[] = []
  const unexpected: string[] = []
  const viewDurationsMs: number[] = []
  const orderDurationsMs: number[] = []
  let searches = 0

  const search = async ({ word }: Step & { kind: 'search' }) => {
    searches++
    const { status } = await catalog.request(`/films?query=${encodeURIComponent(word)}`, abortable)
    if (status !== 200) unexpected.push(`search for "${word}": ${status}`)
  }

  const view = async ({ film }: Step & { kind: 'view' }, intendedAt: number) => {
    const askedAt = Date.now()
    const { status, body } = await catalog.request(`/films/${film.id}`, abortable)
    viewDurationsMs.push(performance.now() - intendedAt)
    if (status !== 200) return void unexpected.push(`page of film ${film.id}: ${status}`)
    views.push({ filmId: film.id, stockVersion: (body as { stockVersion: number }).stockVersion, askedAt })
  }

  const order = async ({ film, key, quantity }: Step & { kind: 'order' }, intendedAt: number) => {
    const { status, body } = await desk.request('/orders', {
      method: 'POST',
      headers: { 'idempotency-key': key },
      body: { filmId: film.id, quantity },
      ...abortable,
    })
    orderDurationsMs.push(performance.now() - intendedAt)
    if (status !== 201 && status !== 200) return void unexpected.push(`order of film ${film.id}: ${status} ${JSON.stringify(body)}`)
    accepted.push({ orderId: (body as { id: string }).id, filmId: film.id, quantity })
  }

  const startedAt = performance.now()
  try {
    await arrive<Step>(pace, {
      customers: orders,
      visitOf: (customer) => planned(firstCustomer + customer),
      take(step, intendedAt) {
        if (step.kind === 'search') return search(step)
        return step.kind === 'view' ? view(step, intendedAt) : order(step, intendedAt)
      },
      onLeft: () => options.onProgress?.({ orders: accepted.length, views: views.length }),
      ...(options.goOn && { goOn: () => options.goOn!() }),
      ...abortable,
    })
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
