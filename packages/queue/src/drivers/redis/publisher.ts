import { backoffMs, pause } from '@platform/kernel'
import type { Envelope, PublishRequest } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import type { Connection } from './connection.ts'
import { faultOf, plain } from './faults.ts'
import type { ResolvedRedisOptions } from './options.ts'
import { toRecord } from './record.ts'
import { publish } from './registry-scripts.ts'
import { baseKey } from './structure.ts'

interface Waiting {
  readonly envelope: Envelope
  readonly record: Buffer
  readonly request: PublishRequest
  resolve(): void
  reject(error: unknown): void
}

/** A script keeps everybody else waiting: it is not to take longer than a few milliseconds. */
const maxBatch = 200
const maxBatchBytes = 1_048_576

/** One script at a time for each destination stores what arrived while the one before it was under way: the order of calls is the order of messages. */
export class Publisher {
  readonly #connection: Connection
  readonly #options: ResolvedRedisOptions
  readonly #lines = new Map<string, Line>()

  constructor(connection: Connection, options: ResolvedRedisOptions) {
    this.#connection = connection
    this.#options = options
  }

  async publish(destination: string, envelope: Envelope, request: PublishRequest): Promise<void> {
    const { signal } = request
    signal.throwIfAborted()
    const record = toRecord(envelope)
    if (record.length > this.#options.maxMessageBytes) {
      const detail = `it has ${record.length} bytes, maxMessageBytes is ${this.#options.maxMessageBytes}`
      throw new QueueError('ERR_QUEUE_REFUSED', { destination, messageId: envelope.id, detail })
    }
    const line = this.#lineOf(destination)
    await new Promise<void>((resolve, reject) => {
      const entry: Waiting = {
        envelope,
        record,
        request,
        resolve: () => {
          signal.removeEventListener('abort', leave)
          resolve()
        },
        reject: (error) => {
          signal.removeEventListener('abort', leave)
          reject(error as Error)
        },
      }
      // What was given up is kept nowhere, however long the server is away.
      const leave = (): void => {
        line.waiting.delete(entry)
        reject(signal.reason as Error)
      }
      signal.addEventListener('abort', leave, { once: true })
      line.add(entry)
    })
  }

  async flushed(): Promise<void> {
    await Promise.all([...this.#lines.values()].map(({ flushing }) => flushing ?? Promise.resolve()))
  }

  #lineOf(destination: string): Line {
    let line = this.#lines.get(destination)
    if (line === undefined) {
      line = new Line(this.#connection, this.#options.prefix, destination, () => void this.#lines.delete(destination))
      this.#lines.set(destination, line)
    }
    return line
  }
}

/** What waits to be published to one destination. */
class Line {
  readonly waiting = new Set<Waiting>()
  /** While there is something to publish. */
  flushing: Promise<void> | undefined
  readonly #connection: Connection
  readonly #base: string
  readonly #destination: string
  readonly #onEmpty: () => void

  constructor(connection: Connection, prefix: string, destination: string, onEmpty: () => void) {
    this.#connection = connection
    this.#base = baseKey(prefix, destination)
    this.#destination = destination
    this.#onEmpty = onEmpty
  }

  add(entry: Waiting): void {
    this.waiting.add(entry)
    this.flushing ??= this.#flush()
  }

  async #flush(): Promise<void> {
    // Calls of the same turn share the first script.
    await Promise.resolve()
    for (let failures = 0; this.waiting.size > 0; ) {
      const batch = this.#next()
      if (await this.#store(batch)) {
        failures = 0
        continue
      }
      failures += 1
      this.#putBack(batch)
      await pause(20 + backoffMs(failures, 50, 1_000))
    }
    // In the same turn as the last look: nothing is added to a line that nobody empties.
    this.flushing = undefined
    this.#onEmpty()
  }

  #next(): Waiting[] {
    const batch: Waiting[] = []
    let bytes = 0
    for (const entry of this.waiting) {
      bytes += entry.record.length
      if (batch.length > 0 && (batch.length === maxBatch || bytes > maxBatchBytes)) break
      this.waiting.delete(entry)
      batch.push(entry)
    }
    return batch
  }

  /** False when nothing was stored and another try may succeed. */
  async #store(batch: readonly Waiting[]): Promise<boolean> {
    const args = batch.flatMap(({ request, envelope, record }) => [
      request.mandatory ? '1' : '0',
      request.delayMs,
      envelope.key ?? '',
      record,
    ])
    try {
      const stored = (await this.#connection.run(publish, this.#base, ...args)) as number[]
      for (const [index, entry] of batch.entries()) {
        if (stored[index] === 1) entry.resolve()
        else entry.reject(this.#failed('ERR_QUEUE_UNROUTABLE', entry))
      }
      return true
    } catch (error) {
      const fault = faultOf(error)
      if (fault === 'unsent' || fault === 'passing') return false
      const code = fault === 'lost' ? 'ERR_QUEUE_INDETERMINATE' : 'ERR_QUEUE_REFUSED'
      for (const entry of batch) entry.reject(this.#failed(code, entry, plain(error)))
      return true
    }
  }

  /** In front of what came later. */
  #putBack(batch: readonly Waiting[]): void {
    const later = [...this.waiting]
    this.waiting.clear()
    for (const entry of batch) if (!entry.request.signal.aborted) this.waiting.add(entry)
    for (const entry of later) this.waiting.add(entry)
  }

  #failed(
    code: 'ERR_QUEUE_UNROUTABLE' | 'ERR_QUEUE_INDETERMINATE' | 'ERR_QUEUE_REFUSED',
    { envelope }: Waiting,
    cause?: unknown,
  ): QueueError {
    return new QueueError(code, { destination: this.#destination, messageId: envelope.id, cause })
  }
}
