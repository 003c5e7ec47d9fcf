import { backgroundPause, withDeadline } from '@platform/kernel'
import type { DriverSubscription } from './driver.ts'
import { QueueError } from './errors.ts'
import { createBacklogInstruments } from './instrumentation.ts'

const lookMs = 15_000
const lookTimeoutMs = 5_000

/** Measures, now and then, how much waits for a consumer. What cannot be asked is not told: the gauges then say nothing. */
export class Backlog {
  readonly #stop = new AbortController()
  readonly #end: () => void
  #waiting: number | undefined
  #begunAt = 0

  constructor(subscription: DriverSubscription, labels: Readonly<Record<string, string>>) {
    const instruments = createBacklogInstruments(labels, () => this.#read())
    this.#end = () => instruments.end()
    void this.#run(subscription)
  }

  /** A message published at that time has been begun. */
  saw(publishedAt: number): void {
    this.#begunAt = publishedAt
  }

  end(): void {
    this.#stop.abort(new QueueError('ERR_QUEUE_CLOSED'))
    this.#end()
  }

  #read(): { messages: number; oldestMs: number } | undefined {
    if (this.#waiting === undefined) return undefined
    // Queues are first in, first out: what waits is about as old as what began last.
    const oldestMs = this.#waiting === 0 || this.#begunAt === 0 ? 0 : Math.max(0, Date.now() - this.#begunAt)
    return { messages: this.#waiting, oldestMs }
  }

  async #run(subscription: DriverSubscription): Promise<void> {
    const { signal } = this.#stop
    const late = (): QueueError => new QueueError('ERR_QUEUE_TIMEOUT')
    while (!signal.aborted) {
      try {
        this.#waiting = await withDeadline(lookTimeoutMs, late, (bound) => subscription.depth({ signal: bound }), signal)
      } catch {
        this.#waiting = undefined
      }
      await backgroundPause(lookMs * (0.8 + Math.random() * 0.4), signal)
    }
  }
}
