import { choiceOption, functionOption, integerOption, knownOptions, safeLogger } from '@platform/kernel'
import type { ExpiredGroup, QueueDriver } from './driver.ts'
import { resolveBatchOptions, type BatchOptions, type ResolvedBatchOptions } from './handler.ts'
import type { Inbox } from './inbox.ts'
import { resolveRetry, type RetryOptions, type RetryPolicy } from './retry.ts'
import { silentLogger, type InboundHook, type LoggerLike, type OutboundHook } from './shapes.ts'
import { namePattern, refuse, wrong } from './validation.ts'

export interface BrokerOptions {
  /** What carries the messages: `rabbitmq()`, `postgres()`, `redis()` or `memory()`. */
  driver: QueueDriver
  /** Name of this service, for connection names and inbox rows. */
  service: string
  /** Each adds headers to every message published, in order. */
  outbound?: readonly OutboundHook[] | undefined
  /** Each wraps every handler; the first is outermost. */
  inbound?: readonly InboundHook[] | undefined
  /** How long `publish` waits for the broker, in milliseconds. Default 10,000, 10 to 600,000. */
  publishTimeoutMs?: number | undefined
  /** Publishes in flight at once; one more is refused with ERR_QUEUE_OVERFLOW. Default 10,000, 1 to 1,000,000. */
  maxPendingPublishes?: number | undefined
  /** How long an operation on dead letters may take, in milliseconds. Default 15,000, 100 to 3,600,000. */
  deadLetterTimeoutMs?: number | undefined
  /** Told of each group that this process removed because nobody was there for its `groupExpiresAfterMs`. */
  onGroupExpired?: ((group: ExpiredGroup) => void) | undefined
  /** Default: silent. */
  logger?: LoggerLike | undefined
}

export interface ResolvedBrokerOptions {
  readonly driver: QueueDriver
  readonly service: string
  readonly outbound: readonly OutboundHook[]
  readonly inbound: readonly InboundHook[]
  readonly publishTimeoutMs: number
  readonly maxPendingPublishes: number
  readonly deadLetterTimeoutMs: number
  readonly onGroupExpired: (group: ExpiredGroup) => void
  readonly logger: LoggerLike
}

export interface ConsumerOptions {
  /** Members of a group compete; every group gets every message. `'broadcast'`: every process gets every message while it is there. */
  group: 'broadcast' | (string & {})
  /** Handlers at once in this process. Default 10, 1 to 1,000. */
  concurrency?: number | undefined
  /**
   * Messages that this process may hold, those in handlers included. Default: `concurrency`; ordered: 8 times as many, at least 64.
   * `concurrency` to 10,000. The postgres driver fetches none ahead.
   */
  prefetch?: number | undefined
  retry?: RetryOptions | undefined
  /**
   * One message per key at a time, in publishing order, across all members. A key whose message fails for good is parked until its dead
   * letter is replayed or the key released; other keys go on. Default false. The same for all members; not for broadcast.
   */
  ordered?: boolean | undefined
  /**
   * rabbitmq, with `ordered`: how many members may work at once, each on its share of the keys. 1, 2, 4, 8, 16, 32 or 64, default 1. The same
   * for all members; a change needs `platform-queue topology reshard`. The other drivers share keys out over all members by themselves.
   */
  shards?: number | undefined
  /**
   * The group, with its messages and dead letters, is removed when it had no member for so long, in milliseconds by the server's clock. 10,000 to
   * 31,536,000,000 (a year). Default: it stays until `deleteGroup`. What the member that subscribed last says holds. Not for broadcast.
   */
  groupExpiresAfterMs?: number | undefined
  /** The handler runs in a transaction that also records the message's id, so that a duplicate has no effect. Not for broadcast. */
  inbox?: Inbox | undefined
  /** The handler gets several messages at once, with `inbox` in one transaction. A batch that fails is handled again one by one. Default: single messages. */
  batch?: BatchOptions | undefined
}

export interface ConsumeOptions extends ConsumerOptions {
  /** Ends the wait for a server that is down. */
  signal?: AbortSignal | undefined
}

export interface ResolvedConsumerOptions {
  readonly group: string
  readonly broadcast: boolean
  readonly concurrency: number
  readonly prefetch: number
  readonly retry: RetryPolicy
  readonly ordered: boolean
  readonly shards: number
  readonly groupExpiresAfterMs: number | undefined
  readonly inbox: Inbox | undefined
  readonly batch: ResolvedBatchOptions | undefined
}

export function resolveBrokerOptions(options: BrokerOptions): ResolvedBrokerOptions {
  knownOptions(refuse, '', options, [
    'driver',
    'service',
    'outbound',
    'inbound',
    'publishTimeoutMs',
    'maxPendingPublishes',
    'deadLetterTimeoutMs',
    'onGroupExpired',
    'logger',
  ])
  if (typeof options.driver?.open !== 'function') throw wrong('driver: rabbitmq(), postgres(), redis() or memory()')
  if (!namePattern.test(options.service)) throw wrong('service: 1 to 100 of A-Z a-z 0-9 . _ -')
  return {
    driver: options.driver,
    service: options.service,
    outbound: options.outbound ?? [],
    inbound: options.inbound ?? [],
    publishTimeoutMs: integerOption(refuse, 'publishTimeoutMs', options.publishTimeoutMs ?? 10_000, 10, 600_000),
    maxPendingPublishes: integerOption(refuse, 'maxPendingPublishes', options.maxPendingPublishes ?? 10_000, 1, 1_000_000),
    deadLetterTimeoutMs: integerOption(refuse, 'deadLetterTimeoutMs', options.deadLetterTimeoutMs ?? 15_000, 100, 3_600_000),
    onGroupExpired: functionOption(refuse, 'onGroupExpired', options.onGroupExpired) ?? (() => {}),
    logger: options.logger === undefined ? silentLogger : safeLogger(options.logger),
  }
}

export function resolveConsumerOptions(options: ConsumerOptions): ResolvedConsumerOptions {
  knownOptions(refuse, '', options, [
    'group',
    'concurrency',
    'prefetch',
    'retry',
    'ordered',
    'shards',
    'groupExpiresAfterMs',
    'inbox',
    'batch',
  ])
  requireGroup(options.group)
  const broadcast = options.group === 'broadcast'
  if (broadcast && options.ordered === true) throw wrong('ordered: not for broadcast; use concurrency 1')
  if (broadcast && options.inbox !== undefined) throw wrong('inbox: not for broadcast; every process is meant to see the message')
  const expiry = options.groupExpiresAfterMs
  if (broadcast && expiry !== undefined) throw wrong('groupExpiresAfterMs: not for broadcast; its subscriptions end with their process')
  if (options.ordered !== true && options.shards !== undefined) throw wrong('shards: only with ordered')
  const concurrency = integerOption(refuse, 'concurrency', options.concurrency ?? 10, 1, 1_000)
  // Ahead of the handlers, so that one slow key does not keep the others from being seen.
  const ahead = options.ordered === true ? Math.max(64, concurrency * 8) : concurrency
  return {
    group: options.group,
    broadcast,
    concurrency,
    prefetch: integerOption(refuse, 'prefetch', options.prefetch ?? ahead, concurrency, 10_000),
    retry: resolveRetry(options.retry),
    ordered: options.ordered ?? false,
    shards: choiceOption(refuse, 'shards', options.shards ?? 1, [1, 2, 4, 8, 16, 32, 64]),
    groupExpiresAfterMs: expiry === undefined ? undefined : integerOption(refuse, 'groupExpiresAfterMs', expiry, 10_000, 31_536_000_000),
    inbox: options.inbox,
    batch: resolveBatchOptions(options.batch, concurrency),
  }
}

export function requireGroup(group: string): void {
  if (!namePattern.test(group)) throw wrong('group: 1 to 100 of A-Z a-z 0-9 . _ -')
}
