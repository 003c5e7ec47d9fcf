import { allDone, pause, upkeep } from '@platform/kernel'
import type {
  DeadLetterStore,
  DriverContext,
  DriverSession,
  DriverSubscription,
  Envelope,
  PublishRequest,
  QueueDriver,
  Receive,
  Subscription,
} from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import type { Cancellable, LoggerLike } from '../../shapes.ts'
import { Boss } from './boss.ts'
import { Connections, isConflict, isConnectionLoss, typed } from './connection.ts'
import { PostgresDeadLetters } from './dead-letters.ts'
import { Listener } from './listener.ts'
import { resolvePostgresOptions, type PostgresOptions, type ResolvedPostgresOptions } from './options.ts'
import { Presence } from './presence.ts'
import { BatchPublisher } from './publisher.ts'
import { broadcastLeaseSeconds, Registry } from './registry.ts'
import { PostgresSubscription } from './subscription.ts'

const declareAgainMs = 100

/** Messages in PostgreSQL tables, for those who have a database and no broker. Stands on pg-boss. */
export function postgres(options: PostgresOptions): QueueDriver {
  const resolved = resolvePostgresOptions(options)
  return { name: 'postgresql', open: (context) => new PostgresSession(resolved, context) }
}

class PostgresSession implements DriverSession {
  readonly deadLetters: DeadLetterStore
  readonly #options: ResolvedPostgresOptions
  readonly #logger: LoggerLike
  readonly #alone: DriverContext['alone']
  readonly #connections: Connections
  readonly #boss: Boss
  readonly #registry: Registry
  readonly #listener: Listener
  readonly #presence: Presence
  readonly #publisher: BatchPublisher
  readonly #broadcasts = new Map<string, Subscription>()
  #endRenewals: (() => void) | undefined

  constructor(options: ResolvedPostgresOptions, context: DriverContext) {
    const { service, logger, alone } = context
    this.#alone = alone
    this.#options = options
    this.#logger = logger
    const channel = `${options.schema}_wake`
    this.#connections = new Connections(options, `${service} queue`, (error) => logger.debug({ err: error }, 'idle connection lost'))
    this.#boss = new Boss(this.#connections, options.schema, logger)
    this.#registry = new Registry(this.#connections, this.#boss, options.schema)
    const { schema } = options
    this.#presence = new Presence({ connections: this.#connections, boss: this.#boss, registry: this.#registry, schema, context })
    this.#listener = new Listener(this.#connections, channel)
    this.#publisher = new BatchPublisher(this.#connections, this.#boss, this.#registry, channel)
    this.deadLetters = new PostgresDeadLetters(this.#connections, this.#boss, options.schema, channel)
  }

  async deleteGroup(destination: string, group: string, { discard }: { discard: boolean }): Promise<boolean> {
    try {
      return await this.#registry.deleteGroup(destination, group, discard, (queue) => this.#presence.count(queue))
    } catch (error) {
      throw typed(error, destination)
    }
  }

  async ready(): Promise<void> {
    await this.#boss.started()
  }

  async check(): Promise<void | { status: 'warn'; message: string }> {
    try {
      await this.#connections.query('select 1', [], 5_000)
    } catch (error) {
      throw new QueueError('ERR_QUEUE_UNAVAILABLE', { cause: error })
    }
    if (this.#broadcasts.size > 0 && !this.#listener.connected) return { status: 'warn', message: 'no notifications, polling only' }
  }

  publish(destination: string, envelope: Envelope, request: PublishRequest): Promise<void> {
    this.#presence.begin()
    return this.#publisher.publish(destination, envelope, request)
  }

  async subscribe(subscription: Subscription, receive: Receive, { signal }: { signal: AbortSignal }): Promise<DriverSubscription> {
    const { queue, leave } = await this.#declare(subscription, signal)
    this.#presence.begin()
    if (subscription.broadcast) {
      this.#broadcasts.set(queue, subscription)
      this.#endRenewals ??= upkeep(() => this.#renew(), (broadcastLeaseSeconds * 1_000) / 4)
    }
    const { boss, connections, registry, listener } = {
      boss: this.#boss,
      connections: this.#connections,
      registry: this.#registry,
      listener: this.#listener,
    }
    const running = new PostgresSubscription(queue, subscription, receive, {
      boss,
      connections,
      registry,
      listener,
      options: this.#options,
      logger: this.#logger,
      alone: this.#alone,
    })
    return {
      trouble: () => running.trouble(),
      depth: () => running.depth(),
      quiesce: () => running.quiesce(),
      close: async () => {
        this.#broadcasts.delete(queue)
        await running.close()
        await leave()
      },
    }
  }

  async close({ signal }: Cancellable): Promise<void> {
    signal?.addEventListener('abort', () => this.#connections.cut(), { once: true })
    this.#endRenewals?.()
    await Promise.all([this.#presence.close(), this.#listener.close()])
    // Before the tables were ever reached nothing can be on its way.
    if (this.#boss.running !== undefined) await this.#publisher.flushed()
    await this.#boss.close()
    await this.#connections.end()
  }

  /** A connection that breaks in the middle is not the caller's business; what the database refuses is. */
  async #declare(subscription: Subscription, signal: AbortSignal): Promise<{ queue: string; leave: () => Promise<void> }> {
    const { destination, broadcast } = subscription
    for (;;) {
      signal.throwIfAborted()
      try {
        const queue = await this.#registry.declare(subscription)
        return { queue, leave: broadcast ? async () => {} : await this.#presence.join(queue, subscription) }
      } catch (error) {
        if (QueueError.isInstance(error)) throw error
        if (!isConnectionLoss(error) && !isConflict(error)) throw new QueueError('ERR_QUEUE_REFUSED', { destination, cause: error })
        this.#logger.debug({ err: error, destination }, 'subscription is declared again')
        await pause(declareAgainMs, signal)
      }
    }
  }

  async #renew(): Promise<void> {
    try {
      // One that cannot be renewed keeps no other from it. What is ours is renewed before what has run out is swept away.
      await allDone([...this.#broadcasts].map(([queue, subscription]) => this.#renewOne(queue, subscription)))
      await this.#registry.sweep()
    } catch (error) {
      this.#logger.debug({ err: error }, 'broadcast leases could not be renewed; retrying')
      throw error
    }
  }

  async #renewOne(queue: string, subscription: Subscription): Promise<void> {
    if (await this.#registry.renew(queue)) return
    this.#logger.warn({ queue }, 'broadcast subscription had run out; messages of the outage are lost to this process')
    if (this.#broadcasts.has(queue)) await this.#registry.declare(subscription)
  }
}
