import type { Traffic } from '@film-store/shopper'
import type { Entry } from './books.ts'
import { parseMetrics, quantile, type Sample, sum } from './metrics.ts'
import type { Store } from './store.ts'

/** What the metrics pages of all instances said at one moment. */
export interface Scrape {
  readonly samples: readonly Sample[]
  readonly answered: number
  readonly asked: number
}

export async function scrape({ specs }: Store): Promise<Scrape> {
  const pages = await Promise.all(
    specs.map(async ({ adminPort }) => {
      try {
        const answer = await fetch(`http://127.0.0.1:${adminPort}/metrics`, { signal: AbortSignal.timeout(5_000) })
        return answer.ok ? parseMetrics(await answer.text()) : undefined
      } catch {
        return undefined
      }
    }),
  )
  const answers = pages.filter((page) => page !== undefined)
  return { samples: answers.flat(), answered: answers.length, asked: specs.length }
}

/** One line of the scorecard; without `measured` the reason says why it was not. */
export interface Figure {
  readonly name: string
  readonly target: string
  readonly measured?: string
  readonly value?: number
  readonly holds?: boolean
  readonly reason?: string
}

interface Measurements {
  readonly books: readonly Entry[]
  readonly traffic: Traffic
  /** After the first tenth of the orders, and at the end. */
  readonly warm: Scrape
  readonly end: Scrape
  readonly setUpMs: number
  /** How long a change of settings took to be in every instance, or why nobody looked. */
  readonly propagation: number | string
}

export function figures({ books, warm, end, setUpMs, propagation }: Measurements): Figure[] {
  const right = books.filter((entry) => entry.holds).length
  return [
    { ...share('orders settled once, stock conserved, messages delivered', '100 %', right / books.length, (x) => x === 1) },
    milliseconds('query p95', '< 100 ms', quantile(end.samples, 'db_client_operation_duration_seconds', 0.95), 100),
    hitRate('cache hit rate, warm (invalidations flowing)', hits(end.samples), hits(warm.samples), true),
    hitRate('cache hit rate, cold (first tenth)', hits(warm.samples), { hits: 0, all: 0 }, false),
    milliseconds('service-to-service latency p95', '< 50 ms', quantile(end.samples, 'http_client_request_duration_seconds', 0.95), 50),
    breakerOpenings(end.samples),
    sampling(end.samples),
    share('metrics scraped', '100 % of instances', end.answered / end.asked, (x) => x === 1),
    configurationChange(propagation),
    { name: 'gateway overhead p99', target: '< 10 ms', reason: 'no gateway yet' },
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

function milliseconds(name: string, target: string, seconds: number | undefined, limitMs: number): Figure {
  if (seconds === undefined) return { name, target, reason: 'nothing was recorded' }
  const value = seconds * 1000
  return { name, target, measured: `${value.toFixed(1)} ms`, value, holds: value < limitMs }
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
  const all = sum(samples, 'platform_telemetry_spans_total')
  if (all < 2_000) return { name, target, reason: `${all} traces are too few to tell 10 % from 9 or 11` }
  const value = sum(samples, 'platform_telemetry_spans_total', { sampled: 'true' }) / all
  return { name, target, measured: `${(value * 100).toFixed(1)} % of ${all}`, value, holds: Math.abs(value - 0.1) <= 0.01 }
}
