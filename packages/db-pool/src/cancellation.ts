import type pg from 'pg'
import { settlesWithin } from '@platform/kernel'
import { sendCancelRequest } from './cancel-request.ts'

const pauseMs = { first: 20, longest: 500 }

/**
 * Ends what a connection runs. A CancelRequest may overtake its statement on the way and find nothing to cancel, so it is repeated until the
 * statement has ended. As long as this is open nothing else may be sent that a request could hit.
 */
export class Cancellation {
  readonly #client: pg.Client
  readonly #isRunning: () => boolean
  #onStatementEnd: (() => void) | undefined
  open = false

  constructor(client: pg.Client, isRunning: () => boolean) {
    this.#client = client
    this.#isRunning = isRunning
  }

  statementEnded(): void {
    this.#onStatementEnd?.()
  }

  /** `done` learns whether nothing is on its way any more: a request that the server did not confirm may still arrive. */
  async run(timeoutMs: number, done: (arrived: boolean) => void): Promise<void> {
    this.open = true
    const arrived = await this.#repeat(timeoutMs)
    this.open = false
    done(arrived)
  }

  async #repeat(timeoutMs: number): Promise<boolean> {
    const deadline = performance.now() + timeoutMs
    for (let waitMs = pauseMs.first; this.#isRunning() && performance.now() < deadline; waitMs = Math.min(waitMs * 2, pauseMs.longest)) {
      if (!(await sendCancelRequest(this.#client, timeoutMs))) return false
      if (!this.#isRunning()) return true
      const ended = new Promise<void>((resolve) => {
        this.#onStatementEnd = resolve
      })
      await settlesWithin(ended, waitMs)
    }
    return true
  }
}
