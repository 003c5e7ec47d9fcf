import { backgroundTimeout } from '@platform/kernel'

export interface RepeatRules {
  readonly max: number
  readonly windowMs: number
}

/** Messages that are told apart in one window; beyond, nothing is left out. */
const mostMessages = 1_000
const longestMessage = 200

/** Leaves out lines below `warn` that say the same again and again, and says how many it were. */
export class Repeats {
  readonly #rules: RepeatRules
  readonly #onLeftOut: (message: string, count: number) => void
  #counts = new Map<string, number>()
  #windowEndsAt = 0
  #timer: NodeJS.Timeout | undefined
  /** Lines left out so far. */
  leftOut = 0

  constructor(rules: RepeatRules, onLeftOut: (message: string, count: number) => void) {
    this.#rules = rules
    this.#onLeftOut = onLeftOut
  }

  /** `message` is what the call gave, before its placeholders are filled. */
  isTooMany(message: unknown): boolean {
    if (typeof message !== 'string') return false
    const now = performance.now()
    if (now >= this.#windowEndsAt) {
      this.report()
      this.#windowEndsAt = now + this.#rules.windowMs
    }
    const key = message.slice(0, longestMessage)
    const count = (this.#counts.get(key) ?? 0) + 1
    if (count === 1 && this.#counts.size >= mostMessages) return false
    this.#counts.set(key, count)
    if (count <= this.#rules.max) return false
    this.leftOut++
    this.#timer ??= backgroundTimeout(() => this.report(), this.#rules.windowMs)
    return true
  }

  /** At the end of a window, and of the logger. */
  report(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const counts = this.#counts
    this.#counts = new Map()
    for (const [message, count] of counts) if (count > this.#rules.max) this.#onLeftOut(message, count - this.#rules.max)
  }
}
