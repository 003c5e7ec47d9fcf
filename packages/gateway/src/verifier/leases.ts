import type { KeyedRateLimiter, RateDecision } from '@platform/resilience'

/** Of what a key has left, so much at most is taken ahead: two gateways together stay within two percent of a limit. */
const share = 0.01
/** As much as is used in so long is taken ahead. */
const aheadMs = 2_000
/** What was taken ahead and not used by then is given up. */
const longestMs = 5_000
/** Whoever was refused is asked for again by then: Redis may have been away, or emptied. */
const longestRefusalMs = 1_000
const mostKeys = 20_000

interface Lease {
  /** Turns that were taken in Redis and may still be used here. */
  left: number
  readonly untilMs: number
  /** What Redis had left for the key besides. */
  readonly remaining: number
  readonly takenAt: number
  /** Turns since then, with the one it was taken for. */
  used: number
  /** More is being taken ahead: whoever comes meanwhile waits for it. */
  flight: Promise<void> | undefined
}

/** Nothing can make a refused key come earlier: until its time it is refused without asking. */
interface Refused {
  readonly refusedUntilMs: number
  readonly asksAtMs: number
}

/**
 * Spares Redis most questions without letting more through: a key that is busy and far from its limit takes a few turns ahead, in one question; one
 * that was refused is refused until Redis would let it pass. What is taken ahead is counted at once, so a limit is never exceeded by it.
 */
export class Leases {
  readonly #limiter: KeyedRateLimiter
  readonly #now: () => number
  readonly #keys = new Map<string, Lease | Refused>()

  constructor(limiter: KeyedRateLimiter, now: () => number = () => performance.now()) {
    this.#limiter = limiter
    this.#now = now
  }

  /** A promise only where Redis is asked. */
  acquire(key: string): RateDecision | Promise<RateDecision> {
    const now = this.#now()
    const known = this.#keys.get(key)
    if (known === undefined) return this.#ask(key, now, 1)
    if ('refusedUntilMs' in known) {
      if (now >= known.asksAtMs) return this.#ask(key, now, 1)
      return { allowed: false, remaining: 0, retryAfterMs: known.refusedUntilMs - now }
    }
    if (known.left > 0 && now < known.untilMs) {
      known.used++
      known.left--
      return { allowed: true, remaining: known.remaining + known.left, retryAfterMs: 0 }
    }
    if (known.flight !== undefined) return known.flight.then(() => this.acquire(key))
    known.used++
    const cost = wanted(known, now)
    const asked = this.#ask(key, now, cost)
    const over = (): void => void (known.flight = undefined)
    if (cost > 1) known.flight = asked.then(over, over)
    return asked
  }

  async #ask(key: string, now: number, cost: number): Promise<RateDecision> {
    const decision = await this.#limiter.acquire(key, { cost })
    // Another gateway has taken what was there: the one turn may still be.
    if (!decision.allowed && cost > 1) return this.#ask(key, this.#now(), 1)
    this.#keep(key, decision.allowed ? leaseOf(decision, now, cost) : refusedOf(decision, now))
    return { ...decision, remaining: decision.remaining + (decision.allowed ? cost - 1 : 0) }
  }

  #keep(key: string, next: Lease | Refused): void {
    const known = this.#keys.get(key)
    // Of two that asked at once: what the other one has taken ahead is not lost.
    if (known !== undefined && 'left' in known && known.left > 0 && this.#now() < known.untilMs) return
    if (known === undefined && this.#keys.size >= mostKeys) this.#keys.delete(this.#keys.keys().next().value!)
    this.#keys.set(key, next)
  }
}

/** At most twice what was used since the last question: one burst does not take a share that nobody uses. */
function wanted({ used, takenAt, remaining }: Lease, now: number): number {
  const pace = used / Math.max(1, now - takenAt)
  return Math.max(1, Math.floor(Math.min(pace * aheadMs, 2 * used, remaining * share)))
}

function leaseOf({ remaining }: RateDecision, now: number, cost: number): Lease {
  return { left: cost - 1, untilMs: now + longestMs, remaining, takenAt: now, used: 1, flight: undefined }
}

/** From the moment of the question: Redis decided later than that. */
function refusedOf({ retryAfterMs }: RateDecision, now: number): Refused {
  const refusedUntilMs = now + retryAfterMs
  return { refusedUntilMs, asksAtMs: Math.min(refusedUntilMs, now + longestRefusalMs) }
}
