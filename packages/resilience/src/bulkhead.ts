import { longestTimerMs } from '@platform/kernel'
import { AdaptiveLimit } from './adaptive-limit.ts'
import type { Call } from './call.ts'
import { localRejection, type ResilienceError } from './errors.ts'
import type { ResolvedBulkhead } from './resolve-options.ts'
import type { Verdict } from './verdict.ts'

/** Held by work that runs. */
export interface Slot {
  /** The attempt has ended for whoever waited; the work may go on. */
  judged(verdict: Verdict, tookMs: number): void
  /** The work itself has ended: the slot is free. */
  settled(): void
}

interface Waiter {
  previous: Waiter
  next: Waiter
  grant(): void
  evict(): void
}

/** Counts running work and keeps a bounded queue: by priority, and first come first served within one. */
export class Bulkhead {
  settings: ResolvedBulkhead
  readonly #policy: string
  readonly #plainSlot: Slot = { judged() {}, settled: () => this.#release() }
  #adaptive: AdaptiveLimit | undefined
  #active = 0
  #queued = 0
  /** One ring a priority, the highest first. Its own node is the end mark, so that any waiter leaves in constant time. */
  readonly #rings: readonly Waiter[] = [emptyRing(), emptyRing(), emptyRing()]

  constructor(policy: string, settings: ResolvedBulkhead) {
    this.#policy = policy
    this.settings = settings
    this.update(settings)
  }

  get queued(): number {
    return this.#queued
  }

  /** Undefined while the limit is fixed. */
  get adaptiveLimit(): number | undefined {
    return this.#adaptive?.limit
  }

  update(settings: ResolvedBulkhead): void {
    this.settings = settings
    const { adaptive, maxConcurrent } = settings
    if (adaptive === undefined) this.#adaptive = undefined
    else if (this.#adaptive === undefined) this.#adaptive = new AdaptiveLimit(adaptive, maxConcurrent)
    else this.#adaptive.bound(adaptive, maxConcurrent)
    this.#grant()
  }

  /** It is not used any more: whoever waits need not. */
  open(): void {
    this.#adaptive = undefined
    this.settings = { ...this.settings, adaptive: undefined, maxConcurrent: Number.POSITIVE_INFINITY }
    this.#grant()
  }

  /** The slot, at once or after a wait; throws when neither is to be had. */
  acquire(call: Call): Slot | Promise<Slot> {
    if (this.#active < this.#limit) return this.#take()
    call.throwIfCancelled()
    if (this.#queued >= this.settings.maxQueued && !this.#makeRoom(call.priority)) throw this.#full(0)
    return this.#wait(call)
  }

  get #limit(): number {
    return this.#adaptive?.limit ?? this.settings.maxConcurrent
  }

  #take(): Slot {
    const inFlight = ++this.#active
    const adaptive = this.#adaptive
    if (adaptive === undefined) return this.#plainSlot
    const startedAt = performance.now()
    return {
      judged: (verdict, tookMs) => adaptive.ended(verdict, tookMs, inFlight, startedAt),
      settled: () => this.#release(),
    }
  }

  #release(): void {
    this.#active--
    this.#grant()
  }

  #wait(call: Call): Promise<Slot> {
    call.waited = true
    return new Promise((resolve, reject) => {
      const startedAt = performance.now()
      const leave = (): void => {
        waiter.previous.next = waiter.next
        waiter.next.previous = waiter.previous
        this.#queued--
        clearTimeout(timer)
        call.onCancel = undefined
      }
      const evict = (): void => {
        leave()
        reject(this.#full(performance.now() - startedAt))
      }
      const leftMs = call.deadlineAt === undefined ? longestTimerMs : Math.max(0, Math.ceil(call.deadlineAt - startedAt))
      const { maxWaitMs } = this.settings
      const timer = leftMs <= maxWaitMs ? setTimeout(() => call.expire(), leftMs) : setTimeout(evict, maxWaitMs)
      const ring = this.#rings[call.priority]!
      const waiter: Waiter = {
        previous: ring.previous,
        next: ring,
        grant: () => {
          leave()
          resolve(this.#take())
        },
        evict,
      }
      waiter.previous.next = ring.previous = waiter
      this.#queued++
      call.onCancel = (reason) => {
        leave()
        reject(reason as Error)
      }
    })
  }

  /** Sends the latest of the least important away, if it is less important. */
  #makeRoom(priority: number): boolean {
    if (this.settings.maxQueued === 0) return false
    for (let lowest = this.#rings.length - 1; lowest > priority; lowest--) {
      const ring = this.#rings[lowest]!
      if (ring.previous === ring) continue
      ring.previous.evict()
      return true
    }
    return false
  }

  #grant(): void {
    while (this.#queued > 0 && this.#active < this.#limit) this.#rings.find((ring) => ring.next !== ring)!.next.grant()
  }

  #full(elapsedMs: number): ResilienceError {
    const message = `${this.#policy}: ${this.#active} calls run and ${Math.min(this.#queued, this.settings.maxQueued)} wait, the most that may`
    return localRejection('ERR_RESILIENCE_BULKHEAD_FULL', message, { policy: this.#policy, elapsedMs })
  }
}

function emptyRing(): Waiter {
  const ring = { grant() {}, evict() {} } as unknown as Waiter
  ring.previous = ring.next = ring
  return ring
}
