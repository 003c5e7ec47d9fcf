import type { Invalidation } from './invalidation.ts'

const maxQueued = 10_000
const initialDelayMs = 100
const maxDelayMs = 2_000

interface Waiter {
  resolve(): void
  reject(error: unknown): void
}

class Batch implements Invalidation {
  readonly keySet = new Set<string>()
  readonly tagSet = new Set<string>()
  readonly waiters: Waiter[] = []
  all = false

  get keys(): string[] {
    return [...this.keySet]
  }
  get tags(): string[] {
    return [...this.tagSet]
  }
  get empty(): boolean {
    return !this.all && this.keySet.size === 0 && this.tagSet.size === 0
  }
  /** Beyond the bound single names give way to the whole namespace: coarser, never lost. */
  add(what: Invalidation): void {
    if (what.all) this.all = true
    for (const key of what.keys) this.keySet.add(key)
    for (const tag of what.tags) this.tagSet.add(tag)
    if (this.keySet.size + this.tagSet.size > maxQueued) this.all = true
    if (this.all) {
      this.keySet.clear()
      this.tagSet.clear()
    }
  }
}

/** Sends invalidations in batches, one at a time; what could not be sent stays and is sent again until it is through. */
export class Delivery {
  readonly #send: (what: Invalidation) => Promise<void>
  readonly #onDelivered: ((what: Invalidation, attempts: number) => void) | undefined
  #queued = new Batch()
  #sending = new Batch()
  #running = false
  #closed = false
  #wake: (() => void) | undefined
  #idle: (() => void)[] = []

  constructor(send: (what: Invalidation) => Promise<void>, onDelivered?: (what: Invalidation, attempts: number) => void) {
    this.#send = send
    this.#onDelivered = onDelivered
  }

  /** Rejects when the first attempt failed; the invalidation stays queued all the same. */
  add(what: Invalidation): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#queued.add(what)
    this.#queued.waiters.push({ resolve, reject })
    void this.#run()
    return promise
  }

  covers(key: string): boolean {
    return this.#sending.keySet.has(key) || this.#queued.keySet.has(key) || this.coversAll()
  }
  coversTag(tag: string): boolean {
    return this.#sending.tagSet.has(tag) || this.#queued.tagSet.has(tag)
  }
  coversAll(): boolean {
    return this.#sending.all || this.#queued.all
  }
  get size(): number {
    const of = (batch: Batch) => batch.keySet.size + batch.tagSet.size + (batch.all ? 1 : 0)
    return of(this.#sending) + of(this.#queued)
  }

  /** Ends a pause between attempts: the other side is back. */
  retryNow(): void {
    this.#wake?.()
  }

  /** Resolves when nothing is queued any more, or at close. */
  idle(): Promise<void> {
    return this.#running ? new Promise((resolve) => this.#idle.push(resolve)) : Promise.resolve()
  }

  close(error: unknown): void {
    this.#closed = true
    for (const batch of [this.#sending, this.#queued]) for (const waiter of batch.waiters.splice(0)) waiter.reject(error)
    this.#wake?.()
  }

  async #run(): Promise<void> {
    if (this.#running) return
    this.#running = true
    let attempts = 0
    while (!this.#closed && !this.#queued.empty) {
      this.#sending = this.#queued
      this.#queued = new Batch()
      const batch = this.#sending
      attempts++
      try {
        await this.#send(batch)
        this.#sending = new Batch()
        this.#onDelivered?.(batch, attempts)
        attempts = 0
        for (const waiter of batch.waiters) waiter.resolve()
      } catch (error) {
        this.#queued.add(batch)
        this.#sending = new Batch()
        for (const waiter of batch.waiters) waiter.reject(error)
        if (!this.#closed) await this.#pause(Math.min(maxDelayMs, initialDelayMs * 2 ** Math.min(attempts - 1, 10)))
      }
    }
    this.#running = false
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer)
        this.#wake = undefined
        resolve()
      }
      const timer = setTimeout(end, delayMs / 2 + (Math.random() * delayMs) / 2).unref()
      this.#wake = end
    })
  }
}
