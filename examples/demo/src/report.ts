import type { Traffic } from '@film-store/shopper'
import type { Entry } from './books.ts'
import { costs } from './costs.ts'
import type { Figure } from './figures.ts'
import type { Store } from './store.ts'
import type { Part } from './trade.ts'

/** What a part of the traffic reached, as it is written and printed. */
export function trafficFigures(traffic: Traffic): Record<string, number> {
  const perSecond = (count: number) => count / (traffic.durationMs / 1_000)
  return {
    durationMs: traffic.durationMs,
    orders: traffic.accepted.length,
    pages: traffic.views.length,
    ordersPerSecond: perSecond(traffic.accepted.length),
    pagesPerSecond: perSecond(traffic.views.length),
    orderP50Ms: percentile(traffic.orderDurationsMs, 0.5),
    orderP99Ms: percentile(traffic.orderDurationsMs, 0.99),
    pageP50Ms: percentile(traffic.viewDurationsMs, 0.5),
    pageP99Ms: percentile(traffic.viewDurationsMs, 0.99),
    passedOver: traffic.passedOver,
  }
}

export function printTraffic(part: Part, store: Store): void {
  const { pace, traffic } = part
  const load =
    pace.kind === 'rush'
      ? `Rush, ${pace.concurrency} customers who never pause`
      : `Steady, ${pace.ordersPerSecond.toFixed(1)} customers arriving a second`
  const reached = trafficFigures(traffic) as Record<keyof ReturnType<typeof trafficFigures>, number>
  const ms = (value: number | undefined) => `${value!.toFixed(1)} ms`
  console.log(
    `\n${load}: ${reached['orders']} orders (${reached['ordersPerSecond']!.toFixed(1)}/s) and ${reached['pages']} pages ` +
      `(${reached['pagesPerSecond']!.toFixed(0)}/s) in ${(traffic.durationMs / 1_000).toFixed(1)} s\n` +
      `  an order took ${ms(reached['orderP50Ms'])} (p50) to ${ms(reached['orderP99Ms'])} (p99), ` +
      `a page ${ms(reached['pageP50Ms'])} to ${ms(reached['pageP99Ms'])}; ${traffic.passedOver} requests were sent again`,
  )
  const spent = Object.entries(costs(part, store)).map(([what, us]) => `${what} ${(us / 1_000).toFixed(2)} ms`)
  if (spent.length > 0) console.log(`  CPU: ${spent.join(', ')}`)
}

export function printBooks(books: readonly Entry[]): void {
  console.log('\nBooks')
  for (const { name, holds, detail } of books) console.log(`  ${holds ? ' ok ' : 'FAIL'} ${name.padEnd(56)} ${detail}`)
}

export function printScorecard(card: readonly Figure[]): void {
  console.log('\nScorecard')
  for (const { name, target, measured, inRush, holds, reason } of card) {
    const verdict = measured === undefined ? ' -- ' : holds === undefined ? '    ' : holds ? ' ok ' : 'MISS'
    console.log(
      `  ${verdict} ${name.padEnd(56)} ${target.padEnd(20)} ${measured ?? `not measured: ${reason}`}${inRush ? ` (in the rush ${inRush})` : ''}`,
    )
  }
}

export function percentile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0
}
