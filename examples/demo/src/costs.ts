import { sum } from './metrics.ts'
import { since } from './scrape.ts'
import type { Store } from './store.ts'
import type { Part } from './trade.ts'

/**
 * Microseconds of processor time that a part took: of the catalog for each page, of the others for each order. The catalog's includes the
 * prices that it tells and the stock that it takes over. A service that was killed meanwhile has no figure, and containers have none.
 */
export function costs({ before, after, traffic }: Part, { specs }: Store): Record<string, number> {
  const spent = since(before.pages, after.pages)
  const ofService = (name: string) => {
    const pages = specs.flatMap((spec, index) => (spec.name === name ? [spent[index]] : []))
    if (pages.some((page) => page === undefined)) return Number.NaN
    return pages.reduce((total, page) => total + sum(page!, 'process_cpu_time_seconds_total') * 1e6, 0)
  }
  const orders = traffic.accepted.length
  const all = [
    ['catalog-api per page', ofService('catalog-api') / traffic.views.length],
    ['orders-api per order', ofService('orders-api') / orders],
    ['fulfilment-worker per order', ofService('fulfilment-worker') / orders],
    ...Object.entries(after.processorUs).map(
      ([name, us]) => [`${name} per order`, (us - (before.processorUs[name] ?? 0)) / orders] as const,
    ),
  ] as const
  return Object.fromEntries(all.filter(([, us]) => us > 0 && Number.isFinite(us)))
}
