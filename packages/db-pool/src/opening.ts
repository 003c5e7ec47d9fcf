import { backoffMs } from '@platform/kernel'
import { DbPoolError, refusesForGood, refusesParameter } from './errors.ts'

const reconnect = { initialDelayMs: 50, maxDelayMs: 1_000 }
/** A credential that has worked and is refused is being changed: for so long its successor may come. */
const rotationMs = 2_000

interface Opens<T> {
  /** One attempt. */
  connect(signal: AbortSignal): Promise<T>
  opened(connection: T): void
  failed(error: unknown): void
  /** A pause after a failure is over. */
  again(): void
  /** A function gives the password: a refused one may just have been replaced and is asked for once more. */
  asksAgain(): boolean
}

/**
 * Opens connections beside the callers. Slow start: after a failure one attempt at a time, with a growing pause before it; after a success
 * 2, 4, 8, and then as many as wanted.
 */
export class Opening<T> {
  readonly #opens: Opens<T>
  readonly #isReplica: boolean
  readonly #running = new Map<AbortController, Promise<void>>()
  #limit = Number.POSITIVE_INFINITY
  #failures = 0
  /** Attempts that failed together count once; those that began under other settings count for nothing. */
  #round = 0
  #pause: NodeJS.Timeout | undefined
  #closed = false
  /** Whether this credential has let us in, and since when it does not. */
  #worked = false
  #refusedSince: number | undefined
  lastError: unknown
  /** For callers that nobody can serve: the latest attempt was refused for good. */
  refusal: DbPoolError | undefined

  constructor(isReplica: boolean, opens: Opens<T>) {
    this.#isReplica = isReplica
    this.#opens = opens
  }

  get size(): number {
    return this.#running.size
  }

  get mayOpen(): boolean {
    return !this.#closed && this.#pause === undefined && this.#running.size < this.#limit
  }

  open(): void {
    const attempt = new AbortController()
    const round = this.#round
    this.#running.set(attempt, this.#attempt(attempt, round))
  }

  /** A new credential: what failed with the old one says nothing. */
  restart(): void {
    this.#round++
    this.#failures = 0
    this.refusal = undefined
    // It was proven before it was given to us.
    this.#worked = true
    this.#refusedSince = undefined
    this.#limit = Number.POSITIVE_INFINITY
    clearTimeout(this.#pause)
    this.#pause = undefined
  }

  async close(reason: Error): Promise<void> {
    this.#closed = true
    clearTimeout(this.#pause)
    const running = [...this.#running]
    for (const [attempt] of running) attempt.abort(reason)
    await Promise.all(running.map(([, ended]) => ended))
  }

  async #attempt(attempt: AbortController, round: number): Promise<void> {
    try {
      const connection = await this.#opens.connect(attempt.signal)
      this.#running.delete(attempt)
      this.#failures = 0
      this.#worked = true
      this.#refusedSince = undefined
      this.lastError = undefined
      this.refusal = undefined
      if (Number.isFinite(this.#limit)) this.#limit = this.#limit >= 8 ? Number.POSITIVE_INFINITY : this.#limit * 2
      this.#opens.opened(connection)
    } catch (error) {
      this.#running.delete(attempt)
      if (this.#closed) return
      if (attempt.signal.aborted || round < this.#round) this.#opens.again()
      else this.#fail(error)
    }
  }

  #fail(error: unknown): void {
    this.#round++
    this.#limit = 1
    this.#failures++
    this.lastError = error
    this.#pause = setTimeout(
      () => {
        this.#pause = undefined
        this.#opens.again()
      },
      backoffMs(this.#failures, reconnect.initialDelayMs, reconnect.maxDelayMs),
    )
    const refused = refusesForGood(error) && this.#isFinal()
    this.refusal = refused || this.#isReplica ? refusal(error, refused) : undefined
    this.#opens.failed(error)
  }

  #isFinal(): boolean {
    if (!this.#worked) return this.#failures >= (this.#opens.asksAgain() ? 2 : 1)
    const now = performance.now()
    this.#refusedSince ??= now
    return now - this.#refusedSince >= rotationMs
  }
}

function refusal(cause: unknown, refused: boolean): DbPoolError {
  if (!refused) return new DbPoolError('ERR_DB_POOL_CONNECT', 'the replica cannot be reached', { cause })
  const advice = refusesParameter(cause) ? "; behind PgBouncer or its kind set pooler: 'transaction'" : ''
  return new DbPoolError('ERR_DB_POOL_CONNECT', `the server refuses the connection${advice}`, { cause })
}
