import type { Film } from '@film-store/film-contracts'
import { arrive, type Pace } from './pace.ts'
import type { AcceptedOrder, PageView, Recorded, SearchView } from './record.ts'
import { addedUp, type Answer, createShopfront } from './shopfront.ts'
import { planVisits, type Step } from './visit.ts'

export interface ShopOptions {
  readonly catalogUrls: readonly string[]
  readonly ordersUrls: readonly string[]
  readonly films: readonly Film[]
  /** What each order carries to say who the customer is. Default: nothing. */
  readonly token?: string | undefined
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

export interface Traffic extends Recorded {
  /** From the moment that each was meant for: in a rush when it was sent, at a steady pace when the clock said so. Requests sent again included. */
  readonly viewDurationsMs: readonly number[]
  readonly orderDurationsMs: readonly number[]
  readonly requests: number
  /** Requests that were sent again because an instance gave no answer, or 502 to 504. */
  readonly passedOver: number
  /** The same by cause. */
  readonly passes: Readonly<Record<string, number>>
  readonly durationMs: number
}

/** Customers look at films, search now and then, and order one of what they saw, at the pace that is asked for. */
export async function shop(options: ShopOptions): Promise<Traffic> {
  const { films, orders, pace, seed, firstCustomer = 0, signal } = options
  const catalog = createShopfront(options.catalogUrls)
  const desk = createShopfront(options.ordersUrls)
  const planned = planVisits(films, seed)
  const abortable = signal ? { signal } : {}
  const signedIn: Record<string, string> = options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }
  const views: PageView[] = []
  const accepted: AcceptedOrder[] = []
  const searches: SearchView[] = []
  const unexpected: string[] = []
  const asked = { orders: 0, pages: 0, searches: 0 }
  const viewDurationsMs: number[] = []
  const orderDurationsMs: number[] = []

  /** What a customer who waits in vain is told; whoever stops the shopping is told himself. */
  const unanswered = (error: unknown): Answer => {
    signal?.throwIfAborted()
    return { status: 0, body: (error as Error).message }
  }

  const search = async ({ word }: Step & { kind: 'search' }) => {
    asked.searches++
    const { status, body } = await catalog.request(`/films?query=${encodeURIComponent(word)}`, abortable).catch(unanswered)
    if (status !== 200) return void unexpected.push(`search for "${word}": ${status} ${JSON.stringify(body)}`)
    searches.push({ word, answer: body })
  }

  const view = async ({ film }: Step & { kind: 'view' }, intendedAt: number) => {
    asked.pages++
    const askedAt = Date.now()
    const { status, body } = await catalog.request(`/films/${film.id}`, abortable).catch(unanswered)
    const answeredAt = Date.now()
    viewDurationsMs.push(performance.now() - intendedAt)
    if (status !== 200) return void unexpected.push(`page of film ${film.id}: ${status} ${JSON.stringify(body)}`)
    views.push({ filmId: film.id, askedAt, answeredAt, page: body })
  }

  const order = async ({ film, key, quantity }: Step & { kind: 'order' }, intendedAt: number) => {
    asked.orders++
    const request = {
      method: 'POST',
      headers: { 'idempotency-key': key, ...signedIn },
      body: { filmId: film.id, quantity },
      ...abortable,
    } as const
    const { status, body } = await desk.request('/orders', request).catch(unanswered)
    orderDurationsMs.push(performance.now() - intendedAt)
    if (status !== 201 && status !== 200) return void unexpected.push(`order of film ${film.id}: ${status} ${JSON.stringify(body)}`)
    accepted.push({ key, orderId: String((body as { id?: unknown } | undefined)?.id), filmId: film.id, quantity, answer: body })
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
  const [pages, orderDesk] = [catalog.stats(), desk.stats()]
  return {
    views,
    accepted,
    searches,
    unexpected,
    asked,
    viewDurationsMs,
    orderDurationsMs,
    requests: pages.requests + orderDesk.requests,
    passedOver: pages.passedOver + orderDesk.passedOver,
    passes: addedUp([pages.passes, orderDesk.passes]),
    durationMs: performance.now() - startedAt,
  }
}
