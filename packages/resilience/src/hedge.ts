import type { Call, CancelledBy, Next } from './call.ts'
import { isLocalRejection } from './errors.ts'
import { instruments } from './instrumentation.ts'
import type { LatencySketch } from './latency-sketch.ts'
import type { Outcome } from './policy.ts'
import type { ResolvedHedge } from './resolve-options.ts'
import type { TokenBudget } from './retry-budget.ts'

interface HedgeLayer {
  hedge: ResolvedHedge
  latencies: LatencySketch
  budget: TokenBudget
  /** Whether there is no retry layer that pays successes in. */
  refills: boolean
  /** Whether an outcome is not good enough to call the race decided; undefined: errors are not. */
  shouldHandle: ((outcome: Outcome) => boolean) | undefined
  attributes: Record<string, string>
}

const SLOW_QUANTILE = 0.95

/**
 * A second attempt when the first takes longer than most did lately; the first good answer wins. A hedge takes from the retry
 * budget and gives nothing back, so that a dependency that gets slow as a whole is not asked twice for everything.
 */
export function hedgeLayer(layer: HedgeLayer, next: Next): Next {
  return (call) => {
    call.throwIfCancelled()
    return new Promise((resolve, reject) => void new Race(layer, next, call, resolve, reject))
  }
}

class Race {
  readonly #layer: HedgeLayer
  readonly #next: Next
  readonly #call: Call
  readonly #resolve: (value: unknown) => void
  readonly #reject: (error: unknown) => void
  readonly #running = new Set<Call>()
  #sent = 0
  #over = false
  #timer: NodeJS.Timeout | undefined
  #failure: Outcome | undefined

  constructor(layer: HedgeLayer, next: Next, call: Call, resolve: (value: unknown) => void, reject: (error: unknown) => void) {
    this.#layer = layer
    this.#next = next
    this.#call = call
    this.#resolve = resolve
    this.#reject = reject
    if (call.cancellable) call.onCancel = (reason, by) => this.#cancelled(reason, by)
    void this.#send(false)
  }

  async #send(hedged: boolean): Promise<void> {
    const leg = this.#call.fork()
    // The wait is for work that runs: what queues for a slot here is not slow over there.
    leg.onBegin = () => this.#hedgeLater()
    this.#sent++
    this.#running.add(leg)
    let outcome: Outcome
    try {
      outcome = { ok: true, value: await this.#next(leg) }
    } catch (error) {
      outcome = { ok: false, error }
    }
    this.#running.delete(leg)
    try {
      this.#ended(leg, outcome, hedged)
    } catch (error) {
      // Thrown by the user's `shouldHandle`.
      if (this.#finish()) this.#reject(error)
    }
  }

  #ended(leg: Call, outcome: Outcome, hedged: boolean): void {
    const { shouldHandle, latencies, budget } = this.#layer
    const refused = !outcome.ok && isLocalRejection(outcome.error)
    if (hedged && (refused || leg.verdict === 'not-sent')) budget.giveBack()
    // A lost or timed-out attempt took at least so long: leaving it out would make the delay creep down.
    if (leg.attempt > 0 && tellsLatency(leg, this.#over)) latencies.add(leg.tookMs)
    if (this.#over) return
    const good = !refused && (shouldHandle === undefined ? outcome.ok : !shouldHandle(outcome))
    if (!good) {
      if (this.#failure === undefined || !refused) this.#failure = outcome
      if (this.#running.size > 0) return
    }
    if (!this.#finish()) return
    const decided = good ? outcome : this.#failure!
    if (good && this.#layer.refills) budget.succeeded(false)
    if (decided.ok) this.#resolve(decided.value)
    else this.#reject(decided.error)
    if (this.#running.size === 0) return
    const reason = new DOMException('Another attempt of the same call answered first', 'AbortError')
    for (const loser of this.#running) loser.cancel(reason, 'hedge')
  }

  #hedgeLater(): void {
    const { hedge, latencies } = this.#layer
    const { idempotent, mayRetry, inheritedAttempt } = this.#call
    clearTimeout(this.#timer)
    if (this.#sent > hedge.maxHedges || this.#over || !idempotent || !mayRetry || inheritedAttempt > 1) return
    const delayMs = hedge.delayMs ?? latencies.quantile(SLOW_QUANTILE)
    if (delayMs !== undefined) this.#timer = setTimeout(() => this.#hedge(), Math.max(1, Math.ceil(delayMs)))
  }

  #hedge(): void {
    if (!this.#layer.budget.take()) return
    instruments().hedges.add(1, this.#layer.attributes)
    void this.#send(true)
  }

  #cancelled(reason: unknown, by: CancelledBy): void {
    if (!this.#finish()) return
    this.#reject(reason)
    for (const leg of this.#running) leg.cancel(reason, by)
  }

  #finish(): boolean {
    if (this.#over) return false
    this.#over = true
    clearTimeout(this.#timer)
    this.#call.onCancel = undefined
    return true
  }
}

function tellsLatency(leg: Call, lost: boolean): boolean {
  return leg.verdict === 'answered' || leg.verdict === 'timed-out' || leg.verdict === 'too-slow' || (lost && leg.verdict === 'not-wanted')
}
