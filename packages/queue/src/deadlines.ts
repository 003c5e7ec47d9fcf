/** Publishes that begin within this share of their time limit end together. */
const share = 50

/** Operations that end together. */
export interface Deadline {
  readonly signal: AbortSignal
  /** Called when the operation has ended. */
  release(): void
}

interface Bucket extends Deadline {
  readonly controller: AbortController
  readonly opensUntil: number
  readonly timer: NodeJS.Timeout
  users: number
}

/**
 * One time limit for very many operations. A controller and a timer for each would cost more than the rest of a publish; so those that begin
 * at about the same time share them, and end up to a fiftieth of the limit late. Nothing is left when nobody waits.
 */
export class Deadlines {
  readonly #ms: number
  readonly #error: () => Error
  readonly #buckets = new Set<Bucket>()
  #current: Bucket | undefined

  constructor(ms: number, error: () => Error) {
    this.#ms = ms
    this.#error = error
  }

  begin(): Deadline {
    const now = performance.now()
    let bucket = this.#current
    if (bucket === undefined || now > bucket.opensUntil || bucket.signal.aborted) this.#current = bucket = this.#open(now)
    bucket.users += 1
    return bucket
  }

  /** Ends all that are under way. */
  abort(reason: Error): void {
    for (const bucket of this.#buckets) {
      this.#end(bucket)
      bucket.controller.abort(reason)
    }
  }

  #open(now: number): Bucket {
    const width = this.#ms / share
    const controller = new AbortController()
    const timer = setTimeout(() => {
      this.#end(bucket)
      controller.abort(this.#error())
    }, this.#ms + width)
    const bucket: Bucket = {
      controller,
      signal: controller.signal,
      opensUntil: now + width,
      timer,
      users: 0,
      release: () => {
        bucket.users -= 1
        if (bucket.users === 0) this.#end(bucket)
      },
    }
    this.#buckets.add(bucket)
    return bucket
  }

  #end(bucket: Bucket): void {
    clearTimeout(bucket.timer)
    this.#buckets.delete(bucket)
    if (this.#current === bucket) this.#current = undefined
  }
}
