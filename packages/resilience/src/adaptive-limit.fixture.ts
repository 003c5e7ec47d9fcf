import type { Verdict } from './verdict.ts'

interface Limit {
  readonly limit: number
  ended(verdict: Verdict, tookMs: number, inFlight: number, startedAt: number): void
}

/** Netflix's concurrency-limits, Gradient2Limit with its defaults, as published. */
export class Gradient2 implements Limit {
  #limit: number
  readonly #max: number
  #longMs = 0
  #count = 0

  constructor(initial: number, max: number) {
    this.#limit = initial
    this.#max = max
  }

  get limit(): number {
    return Math.floor(this.#limit)
  }

  ended(_: Verdict, tookMs: number, inFlight: number): void {
    this.#count++
    this.#longMs += (tookMs - this.#longMs) * (this.#count <= 10 ? 1 / this.#count : 2 / 601)
    if (this.#longMs / tookMs > 2) this.#longMs *= 0.95
    if (inFlight < this.#limit / 2) return
    const gradient = Math.max(0.5, Math.min(1, (1.5 * this.#longMs) / tookMs))
    const next = this.#limit * 0.8 + (this.#limit * gradient + 4) * 0.2
    this.#limit = Math.max(20, Math.min(this.#max, next))
  }
}

/** Netflix's concurrency-limits, VegasLimit with its defaults, as published. */
export class Vegas implements Limit {
  #limit: number
  readonly #max: number
  #noLoadMs = 0
  #probes = 0

  constructor(initial: number, max: number) {
    this.#limit = initial
    this.#max = max
  }

  get limit(): number {
    return Math.floor(this.#limit)
  }

  ended(_: Verdict, tookMs: number, inFlight: number): void {
    if (++this.#probes >= 30 * this.#limit) {
      this.#probes = 0
      this.#noLoadMs = tookMs
      return
    }
    if (this.#noLoadMs === 0 || tookMs < this.#noLoadMs) {
      this.#noLoadMs = tookMs
      return
    }
    if (inFlight * 2 < this.#limit) return
    const log = Math.max(1, Math.floor(Math.log10(this.limit)))
    const queue = Math.ceil(this.#limit * (1 - this.#noLoadMs / tookMs))
    let next = this.#limit
    if (queue <= log) next += 6 * log
    else if (queue < 3 * log) next += log
    else if (queue > 6 * log) next -= log
    this.#limit = Math.max(1, Math.min(this.#max, next))
  }
}

export const overloadMs = 8000

/** 1.4 times what a dependency can take is offered for `overloadMs`, by the clock that is set. Returns what the second half saw. */
export async function underOverload(
  make: () => Limit,
  { latencyMs, capacity }: { latencyMs: number; capacity: number },
  random: () => number = Math.random,
): Promise<{ limit: number; meanMs: number; perSecond: number }> {
  const limit = make()
  const line: (() => void)[] = []
  let working = 0
  const work = (done: () => void): void => {
    working++
    setTimeout(
      () => {
        working--
        line.shift()?.()
        done()
      },
      latencyMs * (0.5 + random()),
    )
  }
  const lengthMs = overloadMs
  const perMs = (capacity / latencyMs) * 1.4
  const startedAt = performance.now()
  let offered = 0
  let inFlight = 0
  let answered = 0
  let sumMs = 0
  for (let now = startedAt; now < startedAt + lengthMs; now = performance.now()) {
    for (; offered < (now - startedAt) * perMs; offered++) {
      if (inFlight >= limit.limit) continue
      const began = performance.now()
      const beside = ++inFlight
      const done = (): void => {
        inFlight--
        const tookMs = performance.now() - began
        limit.ended('answered', tookMs, beside, began)
        if (began < startedAt + lengthMs / 2) return
        answered++
        sumMs += tookMs
      }
      if (working < capacity) work(done)
      else line.push(() => work(done))
    }
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  return { limit: limit.limit, meanMs: sumMs / answered, perSecond: (answered / lengthMs) * 2000 }
}
