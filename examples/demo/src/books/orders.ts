import type { AcceptedOrder } from '@film-store/shopper'
import { type Findings, repeated } from './entry.ts'
import type { Ledger } from './ledger.ts'
import { leftAt, type Model } from './model.ts'

type Orders = Pick<Ledger, 'orders'>

export function ordersKept({ orders }: Orders, accepted: readonly AcceptedOrder[]): Findings {
  const byId = new Map(orders.map((order) => [order.id, order]))
  const told = new Set(accepted.map(({ orderId }) => orderId))
  const lost = accepted.flatMap((order) => {
    const kept = byId.get(order.orderId)
    if (kept === undefined) return [`order ${order.orderId} is lost`]
    const same = kept.key === order.key && kept.filmId === order.filmId && kept.quantity === order.quantity
    return same ? [] : [`order ${order.orderId} is kept as another one`]
  })
  const faults = [
    ...repeated(
      accepted.map(({ orderId }) => orderId),
      (id) => `order ${String(id)} was answered to two customers`,
    ),
    ...repeated(
      orders.map(({ key }) => key),
      (key) => `the order of key ${String(key)} is kept twice`,
    ),
    ...lost,
    ...orders.filter(({ id }) => !told.has(id)).map(({ id }) => `nobody was told of order ${id}`),
  ]
  return { faults, detail: `${orders.length} orders` }
}

export function settledOnce({ orders }: Orders): Findings {
  const wrong = orders.filter((order) => order.status === 'placed' || order.settlements !== 1)
  const fulfilled = orders.filter((order) => order.status === 'fulfilled').length
  return {
    faults: wrong.map((order) => `order ${order.id} is ${order.status}, settled ${order.settlements} times`),
    detail: `${fulfilled} fulfilled, ${orders.length - fulfilled} rejected`,
  }
}

/** Kept at it and shown to the customer at it. */
export function pricesRight({ orders }: Orders, accepted: readonly AcceptedOrder[], model: Model): Findings {
  const right = (filmId: number) => model.get(filmId)?.film.priceCents
  const kept = orders.filter((order) => right(order.filmId) !== order.priceCents)
  const shown = accepted.filter(({ answer, filmId }) => right(filmId) !== (answer as { priceCents?: unknown } | undefined)?.priceCents)
  return {
    faults: [
      ...kept.map((order) => `order ${order.id} is kept at ${order.priceCents}`),
      ...shown.map((order) => `the customer of order ${order.orderId} was shown another price`),
    ],
    detail: `${orders.length} prices`,
  }
}

/** Stock only ever falls: if there was enough when the order was settled, there was enough when it was refused. */
export function rejectionsJustified({ orders }: Orders, model: Model): Findings {
  const rejected = orders.filter(({ status }) => status === 'rejected')
  const faults = rejected.flatMap(({ id, filmId, quantity, settledAt }) => {
    const story = model.get(filmId)
    const left = story ? leftAt(story, settledAt ?? Infinity) : 0
    return left < quantity ? [] : [`order ${id} of ${quantity} was rejected with ${left} copies there`]
  })
  return { faults, detail: `${rejected.length} rejections` }
}
