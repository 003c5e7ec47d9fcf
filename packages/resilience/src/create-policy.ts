import { choiceOption } from '@platform/kernel'
import { attemptLayer, type InFlight } from './attempt.ts'
import type { Breaker, Transition } from './breaker.ts'
import { breakerLayer } from './breaker-layer.ts'
import { Bulkhead } from './bulkhead.ts'
import { bulkheadLayer } from './bulkhead-layer.ts'
import { Call, type Next, type Work } from './call.ts'
import { CircuitBreaker } from './circuit-breaker.ts'
import { currentCallContext } from './deadline.ts'
import { isLocalRejection, localRejection, refuseOption, ResilienceError } from './errors.ts'
import { runFallback } from './fallback.ts'
import { GradualBreaker } from './gradual-breaker.ts'
import { hedgeLayer } from './hedge.ts'
import { callHook } from './hooks.ts'
import { ATTRIBUTE_OUTCOME, ATTRIBUTE_POLICY, ATTRIBUTE_STATE, instruments, type Observed, observe } from './instrumentation.ts'
import { LatencySketch } from './latency-sketch.ts'
import type { PolicyOptions } from './options.ts'
import type { BreakerState, ExecuteOptions, Attempt, Policy, PolicyStats } from './policy.ts'
import { rateLimitLayer } from './rate-limit-layer.ts'
import { type ResolvedPolicyOptions, resolvePolicyOptions } from './resolve-options.ts'
import { ownBudget, type TokenBudget } from './retry-budget.ts'
import { retryLayer } from './retry.ts'

/** A value that can change while the program runs, in two phases; `config.live()` returns one. */
export interface LivePolicyOptions {
  readonly current: PolicyOptions
  onChange(prepare: (next: PolicyOptions) => { commit(): void }): () => void
}

/**
 * Layers from outside to inside, always in this order: fallback, total timeout and deadline, rate limit, retry, hedge,
 * breaker, bulkhead, attempt timeout, the work. What is not configured is not in the chain.
 */
export function createPolicy(options: PolicyOptions | LivePolicyOptions): Policy {
  if (!('onChange' in options)) return new ChainPolicy(resolvePolicyOptions(options)).observed()
  const policy = new ChainPolicy(resolvePolicyOptions(options.current)).observed()
  policy.follow(options)
  return policy
}

export class ChainPolicy implements Policy, Observed {
  readonly name: string
  /** When the last call began, on the monotonic clock. */
  lastUsedAt = 0
  readonly #rateKey: string
  readonly #counter: InFlight = { inFlight: 0 }
  readonly #attributes: Attributes
  #ownBudget: TokenBudget | undefined
  #settings: ResolvedPolicyOptions
  #chain: Next
  #breaker: Breaker | undefined
  #unobserve: (() => void) | undefined
  #unfollow: (() => void) | undefined
  #bulkhead: Bulkhead | undefined
  #latencies: LatencySketch | undefined
  #isolations = 0
  /**
   * Asked before a call is set up, when nothing stands in front of the breaker: rejections are most frequent when there is
   * least time. Their promise is rejected a microtask later, since one that is rejected before its caller could attach a
   * handler costs Node a round of tracking.
   */
  #shortcut: Breaker | undefined

  /** `rateKey` is the key of a policy group; otherwise the name. */
  constructor(settings: ResolvedPolicyOptions, rateKey?: string) {
    this.#settings = settings
    this.name = this.#settings.name ?? 'default'
    this.#rateKey = rateKey ?? this.name
    this.#attributes = attributesOf(this.name)
    this.#chain = this.#compile()
  }

  get state(): BreakerState {
    return this.#isolations > 0 ? 'isolated' : (this.#breaker?.state ?? 'closed')
  }

  get hasBreaker(): boolean {
    return this.#breaker !== undefined
  }

  *states(): Generator<BreakerState> {
    if (this.hasBreaker) yield this.state
  }

  /** Shows in the metrics by itself, not as one of a group. */
  observed(): this {
    this.#unobserve = observe(this)
    return this
  }

  follow(options: LivePolicyOptions): void {
    this.#unfollow = options.onChange((next) => this.prepare(next))
  }

  execute<T>(run: (attempt: Attempt) => Promise<T> | T, options: ExecuteOptions<T> = {}): Promise<T> {
    const refusal = this.#shortcut?.refusal
    if (refusal === undefined || this.#isolations > 0 || options.fallback !== undefined || options.signal?.aborted)
      return this.#execute(run, options)
    this.lastUsedAt = performance.now()
    this.#rejected(refusal)
    return new Promise((_, reject) => queueMicrotask(() => reject(refusal)))
  }

  async #execute<T>(run: (attempt: Attempt) => Promise<T> | T, options: ExecuteOptions<T>): Promise<T> {
    const inherited = currentCallContext()
    const call = new Call({
      policy: this.name,
      run: run as Work,
      signal: options.signal,
      idempotent: options.idempotent ?? true,
      mayRetry: options.retry ?? true,
      priority: priorityOf(options.priority),
      timeoutMs: this.#settings.timeoutMs,
      inheritedDeadlineAt: inherited?.deadlineAt,
      inheritedAttempt: inherited?.attempt ?? 1,
    })
    this.lastUsedAt = call.startedAt
    call.begin()
    try {
      call.throwIfCancelled()
      const value = (await this.#chain(call)) as T
      this.#count('success')
      return value
    } catch (error) {
      const left = call.cancelled?.by === 'caller'
      if (!left && isLocalRejection(error)) this.#rejected(error)
      else this.#count(outcomeName(call, error))
      if (options.fallback === undefined || left) throw error
      return await runFallback(call, options.fallback, error)
    } finally {
      call.end()
    }
  }

  update(options: PolicyOptions): void {
    this.prepare(options).commit()
  }

  prepare(options: PolicyOptions): { commit(): void } {
    const settings = resolvePolicyOptions(options)
    if (settings.name !== undefined && settings.name !== this.name) throw refuseOption('name', 'cannot change')
    return { commit: () => this.use(settings) }
  }

  use(settings: ResolvedPolicyOptions): void {
    this.#settings = settings
    this.#chain = this.#compile()
  }

  isolate(): () => void {
    let held = true
    this.#isolations++
    return () => {
      if (held) this.#isolations--
      held = false
    }
  }

  reset(): void {
    this.#breaker?.reset()
  }

  stats(): PolicyStats {
    const stats: PolicyStats = { state: this.state, inFlight: this.#counter.inFlight, queued: this.#bulkhead?.queued ?? 0 }
    const concurrencyLimit = this.#bulkhead?.adaptiveLimit
    return concurrencyLimit === undefined ? stats : { ...stats, concurrencyLimit }
  }

  get idle(): boolean {
    return this.#counter.inFlight === 0 && (this.#bulkhead?.queued ?? 0) === 0
  }

  dispose(): void {
    this.#unfollow?.()
    this.#unobserve?.()
    this.#breaker?.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  #compile(): Next {
    const { attemptTimeoutMs, bulkhead, retry, hedge, rateLimit, hooks } = this.#settings
    let next = attemptLayer(this.#counter, attemptTimeoutMs)
    if (bulkhead === undefined) {
      this.#bulkhead?.open()
      this.#bulkhead = undefined
    } else {
      if (this.#bulkhead === undefined) this.#bulkhead = new Bulkhead(this.name, bulkhead)
      else this.#bulkhead.update(bulkhead)
      next = bulkheadLayer(this.#bulkhead, next)
    }
    this.#keepBreaker()
    this.#shortcut = rateLimit === undefined ? this.#breaker : undefined
    if (this.#breaker !== undefined) next = breakerLayer(this.#breaker, next)
    const attributes = this.#attributes.policy
    if (hedge !== undefined) {
      this.#latencies ??= new LatencySketch()
      const { shouldHandle } = retry ?? {}
      const budget = this.#budget()
      next = hedgeLayer({ hedge, latencies: this.#latencies, budget, refills: retry === undefined, shouldHandle, attributes }, next)
    }
    if (retry !== undefined) next = retryLayer({ retry, budget: this.#budget(), hooks, attributes }, next)
    if (rateLimit !== undefined) next = rateLimitLayer(rateLimit, this.#rateKey, next)
    return this.#isolationLayer(next)
  }

  #budget(): TokenBudget {
    return this.#settings.retry?.budget ?? (this.#ownBudget ??= ownBudget())
  }

  #keepBreaker(): void {
    const { breaker, gradualBreaker, givenBreaker } = this.#settings
    if (givenBreaker !== undefined && givenBreaker === this.#breaker) return
    if (breaker !== undefined && this.#breaker instanceof CircuitBreaker) {
      this.#breaker.settings = breaker
      return
    }
    if (gradualBreaker !== undefined && this.#breaker instanceof GradualBreaker) {
      this.#breaker.settings = gradualBreaker
      return
    }
    this.#breaker?.dispose()
    this.#breaker = givenBreaker
    if (breaker !== undefined)
      this.#breaker = new CircuitBreaker(this.name, breaker, (to, breakDurationMs) => this.#onTransition(to, breakDurationMs))
    else if (gradualBreaker !== undefined) this.#breaker = new GradualBreaker(this.name, gradualBreaker)
  }

  #isolationLayer(next: Next): Next {
    return (call) => {
      if (this.#isolations === 0) return next(call)
      throw localRejection('ERR_RESILIENCE_ISOLATED', `${this.name}: isolated by hand`, { policy: this.name })
    }
  }

  #rejected(error: ResilienceError): void {
    this.#count(codeName(error))
    callHook(this.#settings.hooks.onReject, { code: error.code })
  }

  #count(outcome: string): void {
    const { policy, outcomes } = this.#attributes
    let attributes = outcomes.get(outcome)
    if (attributes === undefined) outcomes.set(outcome, (attributes = { ...policy, [ATTRIBUTE_OUTCOME]: outcome }))
    instruments().calls.add(1, attributes)
  }

  #onTransition(to: Transition, breakDurationMs: number): void {
    instruments().transitions.add(1, { ...this.#attributes.policy, [ATTRIBUTE_STATE]: to })
    const { hooks } = this.#settings
    if (to === 'open') callHook(hooks.onBreak, { breakDurationMs })
    else callHook(to === 'half-open' ? hooks.onHalfOpen : hooks.onReset, undefined)
  }
}

interface Attributes {
  readonly policy: Record<string, string>
  readonly outcomes: Map<string, Record<string, string>>
}

let latest: { readonly name: string; readonly attributes: Attributes } | undefined

/** The keys of a group have one name and share them. */
function attributesOf(name: string): Attributes {
  if (latest?.name !== name) latest = { name, attributes: { policy: { [ATTRIBUTE_POLICY]: name }, outcomes: new Map() } }
  return latest.attributes
}

function priorityOf(priority: 'high' | 'normal' | 'low' = 'normal'): number {
  return priority === 'normal' ? 1 : choiceOption(refuseOption, 'priority', priority, ['high', 'low']) === 'high' ? 0 : 2
}

function outcomeName(call: Call, error: unknown): string {
  if (call.cancelled?.by === 'caller') return 'aborted'
  if (!ResilienceError.isInstance(error)) return 'failure'
  return codeName(error)
}

function codeName(error: ResilienceError): string {
  return error.code.slice('ERR_RESILIENCE_'.length).toLowerCase()
}
