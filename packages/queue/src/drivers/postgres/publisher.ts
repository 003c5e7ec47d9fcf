import { backoffMs, pause } from '@platform/kernel'
import type { Envelope, PublishRequest } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import { uuidv7 } from '../../uuid.ts'
import type { Boss } from './boss.ts'
import { isConflict, isConnectionLoss, type Connections, type Transaction } from './connection.ts'
import type { Registry, Route } from './registry.ts'

interface Waiting {
  readonly destination: string
  readonly envelope: Envelope
  readonly request: PublishRequest
  resolve(): void
  reject(error: unknown): void
}

const maxBatch = 500
/** A NOTIFY payload may have 8,000 bytes; a longer list is replaced by "look everywhere". */
const maxPayload = 7_000

/**
 * One transaction at a time stores all messages that arrived while the one before it was under way: one commit for many, and the order
 * of calls is the order of the rows.
 */
export class BatchPublisher {
  readonly #connections: Connections
  readonly #boss: Boss
  readonly #registry: Registry
  readonly #channel: string
  readonly #waiting = new Set<Waiting>()
  #flushing: Promise<void> | undefined

  constructor(connections: Connections, boss: Boss, registry: Registry, channel: string) {
    this.#connections = connections
    this.#boss = boss
    this.#registry = registry
    this.#channel = channel
  }

  async publish(destination: string, envelope: Envelope, request: PublishRequest): Promise<void> {
    const { signal } = request
    signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const entry: Waiting = { destination, envelope, request, resolve, reject }
    // What was given up is kept nowhere, however long the database is away.
    const leave = (): void => {
      this.#waiting.delete(entry)
      reject(signal.reason as Error)
    }
    signal.addEventListener('abort', leave, { once: true })
    this.#waiting.add(entry)
    this.#flushing ??= this.#flush()
    return promise.finally(() => signal.removeEventListener('abort', leave))
  }

  async flushed(): Promise<void> {
    await this.#flushing
  }

  async #flush(): Promise<void> {
    // Calls of the same turn share the first transaction.
    await Promise.resolve()
    for (let failures = 0; this.#waiting.size > 0; ) {
      const batch = [...this.#waiting].slice(0, maxBatch)
      for (const entry of batch) this.#waiting.delete(entry)
      const outcome = await this.#store(batch)
      if (outcome === 'stored') {
        failures = 0
        continue
      }
      failures += 1
      this.#putBack(batch)
      await pause(backoffMs(failures, 50, 1_000))
    }
    // In the same turn as the last look: what is added from now on begins anew.
    this.#flushing = undefined
  }

  async #store(batch: readonly Waiting[]): Promise<'stored' | 'again'> {
    const state = { committing: false }
    try {
      await this.#boss.started()
      const unroutable = await this.#connections.transaction((tx) => this.#insert(tx, batch), state)
      for (const entry of batch) if (!unroutable.has(entry)) entry.resolve()
      return 'stored'
    } catch (error) {
      if (state.committing && isConnectionLoss(error)) {
        for (const { destination, envelope, reject } of batch) {
          reject(new QueueError('ERR_QUEUE_INDETERMINATE', { destination, messageId: envelope.id, cause: error }))
        }
        return 'stored'
      }
      if (QueueError.isInstance(error)) {
        for (const entry of batch) entry.reject(error)
        return 'stored'
      }
      if (isConnectionLoss(error) || isConflict(error)) return 'again'
      return this.#isolate(batch, error)
    }
  }

  /** One message that the database refuses must not take the others along. */
  async #isolate(batch: readonly Waiting[], error: unknown): Promise<'stored'> {
    if (batch.length === 1) {
      const [{ destination, envelope, reject }] = batch as [Waiting]
      reject(new QueueError('ERR_QUEUE_REFUSED', { destination, messageId: envelope.id, cause: error }))
      return 'stored'
    }
    for (const entry of batch) {
      if ((await this.#store([entry])) === 'again') this.#putBack([entry])
    }
    return 'stored'
  }

  /** In front of what came later. */
  #putBack(batch: readonly Waiting[]): void {
    const later = [...this.#waiting]
    this.#waiting.clear()
    for (const entry of [...batch.filter(stillWanted), ...later]) this.#waiting.add(entry)
  }

  async #insert(tx: Transaction, batch: readonly Waiting[]): Promise<Set<Waiting>> {
    const boss = await this.#boss.started()
    const routes = await this.#registry.routes(tx, [...new Set(batch.map(({ destination }) => destination))])
    const byDestination = Map.groupBy(routes, (route) => route.destination)
    const jobs = new Map<string, object[]>()
    const unroutable = new Set<Waiting>()
    const wake = new Set<string>()
    for (const entry of batch) {
      const targets = byDestination.get(entry.destination) ?? []
      if (targets.length === 0 && entry.request.mandatory) {
        unroutable.add(entry)
        entry.reject(new QueueError('ERR_QUEUE_UNROUTABLE', { destination: entry.destination, messageId: entry.envelope.id }))
      }
      for (const route of targets) {
        const list = jobs.get(route.queue)
        if (list === undefined) jobs.set(route.queue, [toJob(entry, route)])
        else list.push(toJob(entry, route))
        if (entry.request.delayMs === 0) wake.add(route.queue)
      }
    }
    const db = { executeSql: (text: string, values?: unknown[]) => tx.query(text, values) }
    for (const [queue, list] of jobs) await boss.insert(queue, list, { db })
    if (wake.size > 0) {
      const payload = [...wake].join(',')
      await tx.query('select pg_notify($1, $2)', [this.#channel, payload.length > maxPayload ? '*' : payload])
    }
    return unroutable
  }
}

function toJob({ envelope, request }: Waiting, { ordered }: Route): object {
  // A row's id is ours and grows: rows of one transaction have one creation time, and the id then decides the order.
  const id = uuidv7()
  return {
    id,
    data: envelope,
    startAfter: request.delayMs / 1000,
    ...(ordered ? { singletonKey: envelope.key === undefined ? `m:${id}` : `k:${envelope.key}` } : {}),
  }
}

function stillWanted({ request }: Waiting): boolean {
  return !request.signal.aborted
}
