import type { Entry } from './books.ts'
import { quantile, type Sample, sum } from './metrics.ts'
import type { Overhead } from './overhead.ts'
import { samplesOf, type Scrape, since } from './scrape.ts'
import type { Part } from './trade.ts'

/** One line of the scorecard; without `measured` the reason says why it was not. */
export interface Figure {
  readonly name: string
  readonly target: string
  readonly measured?: string
  /** The same in the rush, where it is judged by the steady part. */
  readonly inRush?: string
  readonly value?: number
  readonly holds?: boolean
  readonly reason?: string
}

interface Measurements {
  readonly books: readonly Entry[]
  readonly rush: Part
  readonly steady: Part | undefined
  readonly overhead: Overhead | undefined
  /** After the first tenth of the orders, and at the end. */
  readonly warm: Scrape
  readonly end: Scrape
  readonly setUpMs: number
  /** How long a change of settings took to be in every instance, or why nobody looked. */
  readonly propagation: number | string
}

export function figures({ books, rush, steady, overhead, warm, end, setUpMs, propagation }: Measurements): Figure[] {
  const [all, cold] = [samplesOf(end), samplesOf(warm)]
  const counted = (part: Part) => samplesOf(since(part.before.pages, part.after.pages))
  const parts = { rush: counted(rush), steady: steady && counted(steady) }
  const right = books.filter((entry) => entry.holds).length
  return [
    { ...share('orders settled once, stock conserved, messages delivered', '100 %', right / books.length, (x) => x === 1) },
    latency('query p95', 100, 'db_client_operation_duration_seconds', parts),
    hitRate('cache hit rate, warm (invalidations flowing)', hits(all), hits(cold), true),
    hitRate('cache hit rate, cold (first tenth)', hits(cold), { hits: 0, all: 0 }, false),
    latency('service-to-service latency p95', 50, 'http_client_request_duration_seconds', parts),
    breakerOpenings(all),
    sampling(all),
    share('metrics scraped', '100 % of instances', end.filter((page) => page !== undefined).length / end.length, (x) => x === 1),
    configurationChange(propagation),
    gatewayOverhead(overhead),
    { name: 'logs searchable', target: '< 5 s', reason: 'needs the logs of the compose mode' },
    {
      name: 'set-up time (build excluded)',
      target: '< 30 min',
      measured: `${(setUpMs / 1000).toFixed(1)} s`,
      value: setUpMs,
      holds: setUpMs < 30 * 60_000,
    },
  ]
}

function share(name: string, target: string, value: number, holds: (value: number) => boolean): Figure {
  return { name, target, measured: `${(value * 100).toFixed(1)} %`, value, holds: holds(value) }
}

interface Counted {
  readonly rush: readonly Sample[]
  readonly steady: readonly Sample[] | undefined
}

/** The 95th percentile of a histogram, judged under the stated load and shown for the rush as well. */
function latency(name: string, limitMs: number, histogram: string, { rush, steady }: Counted): Figure {
  const target = `< ${limitMs} ms`
  const p95 = (samples: readonly Sample[]) => {
    const seconds = quantile(samples, histogram, 0.95)
    return seconds === undefined ? undefined : seconds * 1_000
  }
  if (!steady) return { name, target, reason: 'one order makes no steady part' }
  const [value, inRush] = [p95(steady), p95(rush)]
  if (value === undefined) return { name, target, reason: 'nothing was recorded' }
  const shown = inRush === undefined ? {} : { inRush: `${inRush.toFixed(1)} ms` }
  return { name, target, measured: `${value.toFixed(1)} ms`, ...shown, value, holds: value < limitMs }
}

function hits(samples: readonly Sample[]): { hits: number; all: number } {
  const name = 'platform_cache_requests_total'
  return { hits: sum(samples, name, { result: 'hit' }), all: sum(samples, name) }
}

type Hits = ReturnType<typeof hits>

function hitRate(name: string, until: Hits, from: Hits, gated: boolean): Figure {
  const target = gated ? '> 80 %' : '(none)'
  const all = until.all - from.all
  // A killed instance takes its counters along: what is left may be less than before.
  if (all <= 0) return { name, target, reason: 'nothing was recorded' }
  const value = (until.hits - from.hits) / all
  return { name, target, measured: `${(value * 100).toFixed(1)} %`, value, ...(gated && { holds: value > 0.8 }) }
}

function gatewayOverhead(overhead: Overhead | undefined): Figure {
  const figure = { name: 'gateway overhead p95 (beside the steady part)', target: '< 10 ms' }
  if (!overhead) return { ...figure, reason: 'needs the native mode and a steady part of some seconds' }
  const { p95Ms, pairs } = overhead
  return { ...figure, measured: `${p95Ms.toFixed(1)} ms in ${pairs} pairs`, value: p95Ms, holds: p95Ms < 10 }
}

function configurationChange(propagation: number | string): Figure {
  const figure = { name: 'configuration change in every instance', target: '< 30 s' }
  if (typeof propagation === 'string') return { ...figure, reason: propagation }
  return { ...figure, measured: `${(propagation / 1000).toFixed(2)} s`, value: propagation, holds: propagation < 30_000 }
}

function breakerOpenings(samples: readonly Sample[]): Figure {
  const name = 'breaker openings'
  const target = '< 0.1 % of calls'
  const calls = sum(samples, 'platform_resilience_calls_total')
  if (calls === 0) return { name, target, reason: 'no call went through a breaker' }
  const opened = sum(samples, 'platform_resilience_breaker_transitions_total', { state: 'open' })
  const value = opened / calls
  return { name, target, measured: `${(value * 100).toFixed(3)} % (${opened} of ${calls})`, value, holds: value < 0.001 }
}

function sampling(samples: readonly Sample[]): Figure {
  const name = 'trace sampling'
  const target = '10 % ± 1'
  // Drawn where a trace begins: by the gateway for what customers ask, by the services for what begins with them.
  const drawn = (labels?: Record<string, string>) =>
    sum(samples, 'platform_telemetry_spans_total', labels) + sum(samples, 'platform_gateway_traces_total', labels)
  const all = drawn()
  if (all < 2_000) return { name, target, reason: `${all} traces are too few to tell 10 % from 9 or 11` }
  const value = drawn({ sampled: 'true' }) / all
  return { name, target, measured: `${(value * 100).toFixed(1)} % of ${all}`, value, holds: Math.abs(value - 0.1) <= 0.01 }
}
