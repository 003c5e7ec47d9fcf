import type { Call } from './call.ts'
import { localRejection, type ResilienceError } from './errors.ts'
import { MAX_DELAY_MS } from './option-checks.ts'
import type { ResolvedBulkhead } from './resolve-options.ts'

interface Waiter {
  previous: Waiter
  next: Waiter
  grant(): void
}

/** Counts running work and keeps a bounded queue, first come first served. */
export class Bulkhead {
  settings: ResolvedBulkhead
  readonly #policy: string
  readonly #release = (): void => {
    this.#active--
    this.#grant()
  }
  #active = 0
  #queued = 0
  /** Ring whose own node is the end mark, so that any waiter leaves in constant time. */
  readonly #ring: Waiter

  constructor(policy: string, settings: ResolvedBulkhead) {
    this.#policy = policy
    this.settings = settings
    const ring = { grant() {} } as unknown as Waiter
    ring.previous = ring.next = ring
    this.#ring = ring
  }

  get queued(): number {
    return this.#queued
  }

  update(settings: ResolvedBulkhead): void {
    this.settings = settings
    this.#grant()
  }

  /** The function that frees the slot, at once or after a wait; throws when neither is to be had. */
  acquire(call: Call): (() => void) | Promise<() => void> {
    if (this.#active < this.settings.maxConcurrent) {
      this.#active++
      return this.#release
    }
    call.throwIfCancelled()
    if (this.#queued >= this.settings.maxQueued) throw this.#full(0)
    return this.#wait(call)
  }

  #wait(call: Call): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const startedAt = performance.now()
      const leave = (): void => {
        waiter.previous.next = waiter.next
        waiter.next.previous = waiter.previous
        this.#queued--
        clearTimeout(timer)
        call.onCancel = undefined
      }
      const leftMs = call.deadlineAt === undefined ? MAX_DELAY_MS : Math.max(0, Math.ceil(call.deadlineAt - startedAt))
      const { maxWaitMs } = this.settings
      const timer =
        leftMs <= maxWaitMs
          ? setTimeout(() => call.expire(), leftMs)
          : setTimeout(() => {
              leave()
              reject(this.#full(performance.now() - startedAt))
            }, maxWaitMs)
      const waiter: Waiter = {
        previous: this.#ring.previous,
        next: this.#ring,
        grant: () => {
          leave()
          this.#active++
          resolve(this.#release)
        },
      }
      waiter.previous.next = this.#ring.previous = waiter
      this.#queued++
      call.onCancel = (reason) => {
        leave()
        reject(reason)
      }
    })
  }

  #grant(): void {
    while (this.#queued > 0 && this.#active < this.settings.maxConcurrent) this.#ring.next.grant()
  }

  #full(elapsedMs: number): ResilienceError {
    const { maxConcurrent, maxQueued } = this.settings
    const message = `${this.#policy}: ${maxConcurrent} calls run and ${Math.min(this.#queued, maxQueued)} wait, the most that may`
    return localRejection('ERR_RESILIENCE_BULKHEAD_FULL', message, { policy: this.#policy, elapsedMs })
  }
}
