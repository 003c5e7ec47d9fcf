import { type Counter, type Meter, type MeterProvider, metrics, type ObservableResult } from '@opentelemetry/api'
import type { BreakerState } from './policy.ts'

export const SCOPE = '@platform/resilience'
export const METRIC_CALLS = 'platform.resilience.calls'
export const METRIC_RETRIES = 'platform.resilience.retries'
export const METRIC_HEDGES = 'platform.resilience.hedges'
export const METRIC_BREAKER_STATE = 'platform.resilience.breaker.state'
export const METRIC_BREAKER_TRANSITIONS = 'platform.resilience.breaker.transitions'
export const METRIC_RATE_LIMIT_FALLBACKS = 'platform.resilience.rate_limit.fallbacks'
export const ATTRIBUTE_POLICY = 'policy'
export const ATTRIBUTE_OUTCOME = 'outcome'
export const ATTRIBUTE_STATE = 'state'
export const ATTRIBUTE_MODE = 'mode'

const states: readonly BreakerState[] = ['closed', 'open', 'half-open', 'isolated']

interface Instruments {
  readonly provider: MeterProvider
  readonly calls: Counter
  readonly retries: Counter
  readonly hedges: Counter
  readonly transitions: Counter
  readonly rateLimitFallbacks: Counter
}

/** What the state gauge reads. Held weakly: a dropped policy drops out. */
export interface Observed {
  readonly name: string
  /** One for each breaker. */
  states(): Iterable<BreakerState>
}

const observed = new Set<WeakRef<Observed>>()
const collected = new FinalizationRegistry<WeakRef<Observed>>((reference) => observed.delete(reference))
let current: Instruments | undefined

/** The API hands out dead instruments until an SDK registers, so a new provider means new instruments. */
export function instruments(): Instruments {
  const provider = metrics.getMeterProvider()
  if (current?.provider !== provider) current = build(provider)
  return current
}

export function observe(policy: Observed): () => void {
  const reference = new WeakRef(policy)
  observed.add(reference)
  collected.register(policy, reference, reference)
  return () => {
    observed.delete(reference)
    collected.unregister(reference)
  }
}

function build(provider: MeterProvider): Instruments {
  const meter: Meter = provider.getMeter(SCOPE)
  meter
    .createObservableGauge(METRIC_BREAKER_STATE, { description: 'Breakers in this state, 0 or 1 for a single policy' })
    .addCallback((result) => {
      // A provider that was replaced must not go on reporting.
      if (current?.provider === provider) reportStates(result)
    })
  return {
    provider,
    calls: meter.createCounter(METRIC_CALLS, { unit: '{call}', description: 'Calls by how they ended, before any fallback' }),
    retries: meter.createCounter(METRIC_RETRIES, { unit: '{attempt}', description: 'Attempts after the first' }),
    hedges: meter.createCounter(METRIC_HEDGES, { unit: '{attempt}', description: 'Attempts sent beside one that took long' }),
    rateLimitFallbacks: meter.createCounter(METRIC_RATE_LIMIT_FALLBACKS, {
      unit: '{decision}',
      description: 'Rate limit decisions made without Redis',
    }),
    transitions: meter.createCounter(METRIC_BREAKER_TRANSITIONS, { unit: '{transition}', description: 'Breaker transitions by new state' }),
  }
}

function reportStates(result: ObservableResult): void {
  const counts = new Map<string, Record<BreakerState, number>>()
  for (const reference of observed) {
    const policy = reference.deref()
    if (policy === undefined) continue
    let count = counts.get(policy.name)
    if (count === undefined) counts.set(policy.name, (count = { closed: 0, open: 0, 'half-open': 0, isolated: 0 }))
    for (const state of policy.states()) count[state]++
  }
  for (const [name, count] of counts) {
    for (const state of states) result.observe(count[state], { [ATTRIBUTE_POLICY]: name, [ATTRIBUTE_STATE]: state })
  }
}
