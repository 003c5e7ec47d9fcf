import { attemptLayer, type InFlight } from './attempt.ts'
import { Bulkhead, type Slot } from './bulkhead.ts'
import { Call, type Next, type Work } from './call.ts'
import { type Breaker, breakerLayer } from './breaker-layer.ts'
import { CircuitBreaker, type Transition } from './circuit-breaker.ts'
import { currentCallContext } from './deadline.ts'
import { isLocalRejection, localRejection, ResilienceError } from './errors.ts'
import { GradualBreaker } from './gradual-breaker.ts'
import { hedgeLayer } from './hedge.ts'
import { callHook } from './hooks.ts'
import { ATTRIBUTE_OUTCOME, ATTRIBUTE_POLICY, ATTRIBUTE_STATE, instruments, type Observed, observe } from './instrumentation.ts'
import { choiceOption, invalidOption } from './option-checks.ts'
import { LatencySketch } from './latency-sketch.ts'
import type { PolicyOptions } from './options.ts'
import type { BreakerState, ExecuteOptions, Attempt, Policy, PolicyStats } from './policy.ts'
import type { RateLimiter } from './rate-limit.ts'
import { type ResolvedPolicyOptions, resolvePolicyOptions } from './resolve-options.ts'
import { TokenBudget } from './retry-budget.ts'
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
  if (!('onChange' in options)) return new ChainPolicy(options)
  const policy = new ChainPolicy(options.current)
  options.onChange((next) => policy.prepare(next))
  return policy
}

export class ChainPolicy implements Policy, Observed {
  readonly name: string
  /** When the last call began, on the monotonic clock. */
  lastUsedAt = 0
  readonly #rateKey: string
  readonly #counter: InFlight = { inFlight: 0 }
  readonly #ownBudget = new TokenBudget({})
  readonly #attributes: Record<string, string>
  readonly #outcomes = new Map<string, Record<string, string>>()
  #settings: ResolvedPolicyOptions
  #chain: Next
  #breaker: Breaker | undefined
  #unobserve: (() => void) | undefined
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
  constructor(options: PolicyOptions, rateKey?: string) {
    this.#settings = resolvePolicyOptions(options)
    this.name = this.#settings.name ?? 'default'
    this.#rateKey = rateKey ?? this.name
    this.#attributes = { [ATTRIBUTE_POLICY]: this.name }
    this.#chain = this.#compile()
  }

  get state(): BreakerState {
    return this.#isolations > 0 ? 'isolated' : (this.#breaker?.state ?? 'closed')
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
      if (!call.cancelled?.byCaller && isLocalRejection(error)) this.#rejected(error)
      else this.#count(outcomeName(call, error))
      if (options.fallback === undefined || call.cancelled?.byCaller) throw error
      return await this.#fallback(call, options.fallback, error)
    } finally {
      call.end()
    }
  }

  update(options: PolicyOptions): void {
    this.prepare(options).commit()
  }

  prepare(options: PolicyOptions): { commit(): void } {
    const settings = resolvePolicyOptions(options)
    if (settings.name !== undefined && settings.name !== this.name) throw invalidOption('name', 'cannot change')
    return {
      commit: () => {
        this.#settings = settings
        this.#chain = this.#compile()
      },
    }
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
    this.#unobserve?.()
    this.#breaker?.dispose()
  }

  #compile(): Next {
    const { attemptTimeoutMs, bulkhead, retry, hedge, rateLimit, hooks } = this.#settings
    let next = attemptLayer(this.#counter, attemptTimeoutMs)
    if (bulkhead === undefined) {
      this.#bulkhead = undefined
    } else {
      if (this.#bulkhead === undefined) this.#bulkhead = new Bulkhead(this.name, bulkhead)
      else this.#bulkhead.update(bulkhead)
      next = bulkheadLayer(this.#bulkhead, next)
    }
    this.#keepBreaker()
    this.#shortcut = rateLimit === undefined ? this.#breaker : undefined
    if (this.#breaker !== undefined) next = breakerLayer(this.#breaker, next)
    const budget = retry?.budget ?? this.#ownBudget
    const attributes = this.#attributes
    if (hedge !== undefined) {
      this.#latencies ??= new LatencySketch()
      const { shouldHandle } = retry ?? {}
      next = hedgeLayer({ hedge, latencies: this.#latencies, budget, refills: retry === undefined, shouldHandle, attributes }, next)
    }
    if (retry !== undefined) next = retryLayer({ retry, budget, hooks, attributes }, next)
    if (rateLimit !== undefined) next = rateLayer(rateLimit, this.#rateKey, next)
    return this.#isolationLayer(next)
  }

  #keepBreaker(): void {
    const { breaker, gradualBreaker } = this.#settings
    if (breaker !== undefined && this.#breaker instanceof CircuitBreaker) {
      this.#breaker.settings = breaker
      return
    }
    if (gradualBreaker !== undefined && this.#breaker instanceof GradualBreaker) {
      this.#breaker.settings = gradualBreaker
      return
    }
    this.dispose()
    this.#breaker = undefined
    if (breaker !== undefined)
      this.#breaker = new CircuitBreaker(this.name, breaker, (to, breakDurationMs) => this.#onTransition(to, breakDurationMs))
    else if (gradualBreaker !== undefined) this.#breaker = new GradualBreaker(this.name, gradualBreaker)
    if (this.#breaker !== undefined) this.#unobserve = observe(this)
  }

  #isolationLayer(next: Next): Next {
    return (call) => {
      if (this.#isolations === 0) return next(call)
      throw localRejection('ERR_RESILIENCE_ISOLATED', `${this.name}: isolated by hand`, { policy: this.name })
    }
  }

  async #fallback<T>(call: Call, fallback: (error: unknown) => Promise<T> | T, error: unknown): Promise<T> {
    call.cancelled = undefined
    return call.race(fallback(error), false)
  }

  #rejected(error: ResilienceError): void {
    this.#count(codeName(error))
    callHook(this.#settings.hooks.onReject, { code: error.code })
  }

  #count(outcome: string): void {
    let attributes = this.#outcomes.get(outcome)
    if (attributes === undefined) this.#outcomes.set(outcome, (attributes = { ...this.#attributes, [ATTRIBUTE_OUTCOME]: outcome }))
    instruments().calls.add(1, attributes)
  }

  #onTransition(to: Transition, breakDurationMs: number): void {
    instruments().transitions.add(1, { ...this.#attributes, [ATTRIBUTE_STATE]: to })
    const { hooks } = this.#settings
    if (to === 'open') callHook(hooks.onBreak, { breakDurationMs })
    else callHook(to === 'half-open' ? hooks.onHalfOpen : hooks.onReset, undefined)
  }
}

function priorityOf(priority: 'high' | 'normal' | 'low' = 'normal'): number {
  return priority === 'normal' ? 1 : choiceOption('priority', priority, ['high', 'low']) === 'high' ? 0 : 2
}

function outcomeName(call: Call, error: unknown): string {
  if (call.cancelled?.byCaller) return 'aborted'
  if (!ResilienceError.isInstance(error)) return 'failure'
  return codeName(error)
}

function codeName(error: ResilienceError): string {
  return error.code.slice('ERR_RESILIENCE_'.length).toLowerCase()
}

function rateLayer(limiter: RateLimiter, key: string, next: Next): Next {
  return async (call) => {
    const { allowed, retryAfterMs } = await call.race(limiter.acquire(key))
    call.throwIfCancelled()
    if (allowed) return next(call)
    throw localRejection('ERR_RESILIENCE_RATE_LIMITED', `${call.policy}: rate limit reached`, { policy: call.policy, retryAfterMs })
  }
}

function bulkheadLayer(bulkhead: Bulkhead, next: Next): Next {
  const queued = async (call: Call, slot: Promise<Slot>): Promise<unknown> => {
    call.slot = await slot
    return next(call)
  }
  return (call) => {
    const slot = bulkhead.acquire(call)
    if (slot instanceof Promise) return queued(call, slot)
    call.slot = slot
    return next(call)
  }
}
