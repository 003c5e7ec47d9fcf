import type { RelayResult } from './relay.ts'
import type { LoggerLike } from './shapes.ts'

/** While trouble lasts, it is told again this often. */
const repeatMs = 60_000

/** Tells, without being asked, that messages cannot be delivered, for how long, and that they can be again. */
export class OutboxTrouble {
  readonly #logger: LoggerLike
  readonly #now: () => number
  readonly #failing = new Set<string>()
  #since: number | undefined
  #toldAt = 0
  #foreignTold = false

  constructor(logger: LoggerLike, now: () => number = () => performance.now()) {
    this.#logger = logger
    this.#now = now
  }

  get message(): string | undefined {
    if (this.#since === undefined) return undefined
    return `the outbox cannot deliver ${[...this.#failing].join(', ')} for ${Math.round((this.#now() - this.#since) / 1000)} s`
  }

  saw({ published, failures, foreign }: RelayResult): void {
    if (foreign > 0 && !this.#foreignTold) {
      this.#foreignTold = true
      this.#logger.warn(
        { rows: foreign },
        'outbox rows come from another database server, as after a restore: they are published in the order of their numbers, and may have been published before',
      )
    }
    const now = this.#now()
    for (const { destination } of failures) this.#failing.add(destination)
    const [first] = failures
    if (first !== undefined && (this.#since === undefined || now - this.#toldAt >= repeatMs)) {
      this.#since ??= now
      this.#toldAt = now
      const { err, destination, messageId, attempts } = first
      const fields = { err, destination, messageId, attempts, failures: failures.length, sinceMs: Math.round(now - this.#since) }
      this.#logger.warn(fields, 'outbox cannot deliver; its messages stay in the table and are tried again')
    }
    if (published > 0 && failures.length === 0 && this.#since !== undefined) {
      this.#logger.info({ sinceMs: Math.round(now - this.#since) }, 'outbox delivers again')
      this.#since = undefined
      this.#failing.clear()
    }
  }
}
