import type { Traffic } from '@film-store/shopper'
import type { Entry } from './books.ts'
import type { Figure } from './figures.ts'

export function printTraffic(traffic: Traffic): void {
  const perSecond = (count: number) => (count / (traffic.durationMs / 1000)).toFixed(0)
  console.log(
    `\nTraffic: ${traffic.accepted.length} orders (${perSecond(traffic.accepted.length)}/s) and ${traffic.views.length} pages ` +
      `(${perSecond(traffic.views.length)}/s) in ${(traffic.durationMs / 1000).toFixed(1)} s; ` +
      `an order took ${percentiles(traffic.orderDurationsMs)}, a page ${percentiles(traffic.viewDurationsMs)}; ` +
      `${traffic.passedOver} requests were sent again`,
  )
}

export function printBooks(books: readonly Entry[]): void {
  console.log('\nBooks')
  for (const { name, holds, detail } of books) console.log(`  ${holds ? ' ok ' : 'FAIL'} ${name.padEnd(56)} ${detail}`)
}

export function printScorecard(card: readonly Figure[]): void {
  console.log('\nScorecard')
  for (const { name, target, measured, holds, reason } of card) {
    const verdict = measured === undefined ? ' -- ' : holds === undefined ? '    ' : holds ? ' ok ' : 'MISS'
    console.log(`  ${verdict} ${name.padEnd(56)} ${target.padEnd(20)} ${measured ?? `not measured: ${reason}`}`)
  }
}

export function percentile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0
}

const percentiles = (values: readonly number[]) =>
  `${percentile(values, 0.5).toFixed(1)} ms (p50) to ${percentile(values, 0.99).toFixed(1)} ms (p99)`
