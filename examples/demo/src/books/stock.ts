import type { AcceptedOrder } from '@film-store/shopper'
import { type Findings, repeated } from './entry.ts'
import type { Ledger } from './ledger.ts'
import type { Model } from './model.ts'

export function stockConserved({ stock }: Pick<Ledger, 'stock'>, model: Model): Findings {
  const rows = new Map(stock.map((row) => [row.filmId, row]))
  const faults = [...model.values()].flatMap(({ film, left }) => {
    const row = rows.get(film.id)
    if (row === undefined) return [`film ${film.id} was never put in stock`]
    if (row.seeded !== film.stock) return [`film ${film.id} was stocked with ${row.seeded} instead of ${film.stock}`]
    const last = left.at(-1)!
    return row.remaining === last && last >= 0 ? [] : [`film ${film.id} has ${row.remaining} left, and should have ${last}`]
  })
  const strangers = stock.filter(({ filmId }) => !model.has(filmId)).map(({ filmId }) => `film ${filmId} is in stock and in no source`)
  const sum = (pick: (left: readonly number[]) => number) => [...model.values()].reduce((all, { left }) => all + pick(left), 0)
  const [source, remaining] = [sum((left) => left[0]!), sum((left) => left.at(-1)!)]
  return { faults: [...faults, ...strangers], detail: `${source - remaining} + ${remaining} = ${source}` }
}

export function effectsMatch({ orders, taken }: Pick<Ledger, 'orders' | 'taken'>, accepted: readonly AcceptedOrder[]): Findings {
  const lines = new Map(taken.map((line) => [line.orderId, line]))
  const ordered = new Map(accepted.map((order) => [order.orderId, order]))
  const wrong = orders.filter(({ id, status }) => {
    const line = lines.get(id)
    if (status !== 'fulfilled') return line !== undefined
    const order = ordered.get(id)
    return line === undefined || line.filmId !== order?.filmId || line.quantity !== order.quantity
  })
  const known = new Set(orders.map(({ id }) => id))
  const faults = [
    ...wrong.map(({ id, status }) => `order ${id} is ${status}, and stock was ${lines.has(id) ? 'taken' : 'not taken'} for it`),
    ...taken.filter(({ orderId }) => !known.has(orderId)).map(({ orderId }) => `stock was taken for order ${orderId}, which nobody placed`),
    ...repeated(
      taken.map(({ orderId }) => orderId),
      (id) => `stock was taken twice for order ${String(id)}`,
    ),
  ]
  return { faults, detail: `${taken.length} lines` }
}

/** Versions 1, 2, 3 … as often as stock was taken, each by one order, each later than the one before. */
export function historyWhole({ history, taken, stock }: Pick<Ledger, 'history' | 'taken' | 'stock'>, model: Model): Findings {
  const told = Map.groupBy(history, ({ filmId }) => filmId)
  const lines = Map.groupBy(taken, ({ filmId }) => filmId)
  const current = new Map(stock.map((row) => [row.filmId, row.version]))
  const faults = [...model.keys()].flatMap((id) => {
    const changes = (told.get(id) ?? []).toSorted((a, b) => a.version - b.version)
    const takenBy = (lines.get(id) ?? []).map(({ version }) => version).toSorted((a, b) => a - b)
    const expected = takenBy.map((_, index) => index + 1)
    const versions = changes.map(({ version }) => version)
    if (String(versions) !== String(expected))
      return [`film ${id} changed ${expected.length} times, and its history has ${versions.length} versions`]
    if (String(takenBy) !== String(expected)) return [`film ${id}: two orders took the same version of its stock, or none took one`]
    if ((current.get(id) ?? 0) !== expected.length) return [`film ${id} is at version ${current.get(id)} after ${expected.length} changes`]
    const back = changes.find((change, index) => index > 0 && change.changedAt < changes[index - 1]!.changedAt)
    return back ? [`film ${id}: version ${back.version} is older than the one before it`] : []
  })
  return { faults, detail: `${history.length} changes` }
}
