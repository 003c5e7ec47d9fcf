import { allDone, orAborted, upkeep, withDeadline } from '@platform/kernel'
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
import { refuseDeletion } from '../../group-deletion.ts'
import { attribute, createRestoreCounter } from '../../instrumentation.ts'
import type { Cancellable, LoggerLike } from '../../shapes.ts'
import { uuidv7 } from '../../uuid.ts'
import { Connection } from './connection.ts'
import { redisDeadLetters } from './dead-letters.ts'
import { Expiry } from './expiry.ts'
import { isOutOfMemory, plain } from './faults.ts'
import { resolveRedisOptions, type RedisOptions, type ResolvedRedisOptions } from './options.ts'
import { Publisher } from './publisher.ts'
import { answers, canWrite, declare, deleteGroup, renewBroadcast } from './registry-scripts.ts'
import { baseKey, broadcastLeaseMs } from './structure.ts'
import { RedisSubscription } from './subscription.ts'
import { WakeCalls } from './wake-calls.ts'

const checkMs = 5_000

/** Messages in Redis, version 7 or later: streams for what may be delivered, changed by scripts only. */
export function redis(options: RedisOptions): QueueDriver {
  const resolved = resolveRedisOptions(options)
  return { name: 'redis', open: (context) => new RedisSession(resolved, context) }
}

class RedisSession implements DriverSession {
  readonly deadLetters: DeadLetterStore
  readonly #prefix: string
  readonly #logger: LoggerLike
  readonly #alone: DriverContext['alone']
  readonly #connection: Connection
  readonly #wakeCalls: WakeCalls
  readonly #publisher: Publisher
  readonly #expiry: Expiry
  readonly #restored = createRestoreCounter('redis')
  readonly #broadcasts = new Set<Subscription>()
  #endRenewals: (() => void) | undefined

  constructor(options: ResolvedRedisOptions, context: DriverContext) {
    const { logger, alone } = context
    const onError = (error: Error): void => logger.debug({ err: plain(error) }, 'connection to Redis failed; retrying')
    this.#alone = alone
    this.#logger = logger
    this.#prefix = options.prefix
    this.#connection = new Connection(options, onError)
    this.#wakeCalls = new WakeCalls(options, onError)
    this.#publisher = new Publisher(this.#connection, options)
    this.#expiry = new Expiry(this.#connection, options.prefix, context)
    this.deadLetters = redisDeadLetters(this.#connection, options.prefix)
  }

  async ready({ signal = new AbortController().signal }: Cancellable): Promise<void> {
    await this.#connection.persist(signal, 'lost', answers, baseKey(this.#prefix, ''))
  }

  async check({ signal }: Cancellable): Promise<void | { status: 'warn'; message: string }> {
    const late = (): QueueError => new QueueError('ERR_QUEUE_TIMEOUT')
    try {
      const policy = (await withDeadline(checkMs, late, () => this.#connection.run(canWrite, baseKey(this.#prefix, '')), signal)) as
        | string
        | null
      if (policy !== null) return { status: 'warn', message: `Redis may evict messages: its maxmemory-policy is ${policy}` }
      if (!this.#wakeCalls.connected) return { status: 'warn', message: 'no calls from Redis: consumers look for work every second' }
    } catch (error) {
      signal?.throwIfAborted()
      if (isOutOfMemory(error)) return { status: 'warn', message: 'Redis is out of memory: publishes wait' }
      throw new QueueError('ERR_QUEUE_UNAVAILABLE', { cause: plain(error) })
    }
  }

  publish(destination: string, envelope: Envelope, request: PublishRequest): Promise<void> {
    this.#expiry.watch(destination)
    return this.#publisher.publish(destination, envelope, request)
  }

  async subscribe(subscription: Subscription, receive: Receive, { signal }: { signal: AbortSignal }): Promise<DriverSubscription> {
    const member = uuidv7()
    await this.#declare(subscription, member, signal)
    this.#expiry.watch(subscription.destination, subscription.expiresAfterMs)
    if (subscription.broadcast) {
      this.#broadcasts.add(subscription)
      this.#endRenewals ??= upkeep(() => this.#renew(), broadcastLeaseMs / 4)
    }
    const running = new RedisSubscription(subscription, member, receive, {
      connection: this.#connection,
      wakeCalls: this.#wakeCalls,
      logger: this.#logger,
      base: baseKey(this.#prefix, subscription.destination),
      alone: this.#alone,
      restore: () => this.#restore(subscription, member),
    })
    return {
      trouble: () => running.trouble(),
      depth: () => running.depth(),
      quiesce: () => running.quiesce(),
      close: async () => {
        this.#broadcasts.delete(subscription)
        await running.close()
      },
    }
  }

  async deleteGroup(destination: string, group: string, { signal, discard }: { signal: AbortSignal; discard: boolean }): Promise<boolean> {
    const base = baseKey(this.#prefix, destination)
    const answer = await this.#connection.persist(signal, 'unsent', deleteGroup, base, encodeURIComponent(group), discard ? '1' : '0')
    if (Array.isArray(answer)) {
      const [members, messages] = answer as [number, number]
      refuseDeletion(destination, group, { members, messages, discard })
    }
    return answer !== null
  }

  async close({ signal }: Cancellable): Promise<void> {
    this.#endRenewals?.()
    this.#expiry.close()
    await orAborted(this.#publisher.flushed(), signal).catch(() => {})
    this.#wakeCalls.close()
    this.#connection.close()
  }

  async #declare(subscription: Subscription, member: string, signal: AbortSignal): Promise<void> {
    const { destination, group, ordered, broadcast, expiresAfterMs } = subscription
    const base = baseKey(this.#prefix, destination)
    const kind = ordered ? 'ordered' : 'plain'
    const args = [encodeURIComponent(group), kind, broadcast ? '1' : '0', expiresAfterMs ?? '', member]
    const found = await this.#connection.persist(signal, 'lost', declare, base, ...args)
    if (found === kind) return
    throw new QueueError('ERR_QUEUE_CONFLICT', { destination, detail: `group ${group} is ${ordered ? 'not ' : ''}ordered` })
  }

  /** Redis was emptied, or a broadcast subscription was cut off for too long. */
  async #restore(subscription: Subscription, member: string): Promise<void> {
    const { destination, group } = subscription
    await this.#declare(subscription, member, AbortSignal.timeout(checkMs))
    this.#logger.warn({ destination, group }, 'the group was not there any more and was made anew; what it held is lost to it')
    this.#restored.add(1, { [attribute.destination]: destination })
  }

  /** One that cannot be renewed keeps no other from it. */
  #renew(): Promise<void> {
    return allDone(
      [...this.#broadcasts].map(async ({ destination, group }) => {
        // Whether it is still there is seen when it is read.
        const wasAlive = await this.#connection.run(renewBroadcast, baseKey(this.#prefix, destination), encodeURIComponent(group))
        if (wasAlive === 1) return
        this.#logger.warn({ destination }, 'broadcast subscription had run out; messages of the outage are lost to this process')
      }),
    )
  }
}
