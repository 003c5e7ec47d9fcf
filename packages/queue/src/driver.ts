import type { Envelope } from './envelope.ts'
import type { Cancellable, LoggerLike } from './shapes.ts'

export type { Envelope } from './envelope.ts'

/**
 * The contract that a back end fulfils. A driver moves envelopes and keeps leases; it decides nothing: validation, retry and
 * parking are decided by the core, which tells the driver through `Lease`. `describeQueueDriver` in `@platform/queue/testing` proves one.
 */
export interface QueueDriver {
  readonly name: string
  /** Called once per broker; must not connect yet, must not throw for a server that is down. */
  open(context: DriverContext): DriverSession
}

export interface DriverContext {
  readonly service: string
  readonly logger: LoggerLike
  /** Runs the work with no other handler of this broker beside it. For leases with `alone`. */
  alone<T>(work: () => Promise<T>): Promise<T>
  /** To be told by the session that has removed a group because nobody was there for `expiresAfterMs`. Does not throw. */
  groupExpired(group: ExpiredGroup): void
}

/** A group that had no member for the time after which it was to be removed, and is gone. */
export interface ExpiredGroup {
  readonly destination: string
  readonly group: string
  /** What was removed with it, dead letters included. */
  readonly messages: number
}

export interface DriverSession {
  /** Resolves once the server has been reached. */
  ready(options: Cancellable): Promise<void>
  /** Asks the server now: resolves when well, to a warning when usable, rejects otherwise. */
  check(options: Cancellable): Promise<void | { status: 'warn'; message: string }>
  /**
   * Resolves when the message is safe for every group that ever subscribed and every live broadcast subscriber.
   * Rejects with ERR_QUEUE_UNROUTABLE when there is none and `mandatory` is set; an abort before the message was handed over takes it back.
   */
  publish(destination: string, envelope: Envelope, options: PublishRequest): Promise<void>
  /**
   * Resolves when the subscription exists: what is published from then on reaches it, also while no member is there. Tries until then or
   * until the signal aborts; a server that says no for good is a QueueError.
   */
  subscribe(subscription: Subscription, receive: Receive, options: { signal: AbortSignal }): Promise<DriverSubscription>
  readonly deadLetters: DeadLetterStore
  /**
   * Ends a group: its messages and dead letters are gone, and nothing is kept for it any more. False when there is none. ERR_QUEUE_CONFLICT when
   * it has members, or something in it and `discard` is not set.
   */
  deleteGroup(destination: string, group: string, options: { signal: AbortSignal; discard: boolean }): Promise<boolean>
  /** Called after every subscription is closed; flushes what was accepted for publishing, then leaves no socket and no timer. */
  close(options: Cancellable): Promise<void>
}

export interface PublishRequest {
  /** The message becomes visible after this time; it joins its key's order then. */
  readonly delayMs: number
  readonly mandatory: boolean
  readonly signal: AbortSignal
}

export interface Subscription {
  readonly destination: string
  readonly group: string
  /** The subscription is this process's alone and disappears some time after the process. */
  readonly broadcast: boolean
  /** At most one unsettled lease per key in the whole group, in publishing order; a dead-lettered key waits. Differs from what the group has: ERR_QUEUE_CONFLICT. */
  readonly ordered: boolean
  /** In how many parts the keys of an ordered group are shared out, where members could not be at work side by side otherwise. */
  readonly shards: number
  /** Never more unresolved `receive` calls than this. */
  readonly concurrency: number
  /** How many messages may be fetched, begun or not. At least `concurrency`. */
  readonly prefetch: number
  /**
   * The group, with all that it holds, is removed when it had no member for so long, by the server's clock; not counted while the server or all
   * who could look were away. What the member that subscribed last says holds. `undefined`: never.
   */
  readonly expiresAfterMs: number | undefined
}

/** Resolves when the lease is settled; never rejects. */
export type Receive = (lease: Lease) => Promise<void>

/** One message in our hands. Exactly one of the four methods is called; each rejects with ERR_QUEUE_LEASE_LOST when the message has gone back. */
export interface Lease {
  /** `undefined` when what arrived was no envelope of ours. */
  readonly envelope: Envelope | undefined
  /** 1 for the first try. One more than `begun`, or two when another process held the message and nobody knows whether it had begun. */
  readonly attempt: number
  /** Tries before this one that certainly began: what `maxAttempts` is compared with. A delivery that no handler began costs nothing. */
  readonly begun: number
  /** Received inside `DriverContext.alone`, because an earlier try may have killed its process. This try is counted already, where it survives the process. */
  readonly alone: boolean
  /** Aborted when the lease is lost. */
  readonly signal: AbortSignal
  /** The message is done; its key goes on. */
  ack(): Promise<void>
  /** Try again after `delayMs` with the next attempt number; an ordered key waits meanwhile. */
  retry(delayMs: number): Promise<void>
  /** Moves the message to the group's dead letters; parks its key when ordered. */
  deadLetter(reason: string): Promise<void>
  /** Gives the message back unharmed, to be delivered again at once. */
  release(): Promise<void>
}

export interface DriverSubscription {
  /**
   * No `receive` begins after this resolves. Settling goes on. What was fetched and not begun is given back, at once or, where that would
   * let another member overtake what is still in hand, at `close`.
   */
  quiesce(): Promise<void>
  /** Why it gets no messages at the moment, or cannot settle them; `undefined` when all is well. */
  trouble(): string | undefined
  /** How many messages of the group wait and no member has. */
  depth(options: { signal: AbortSignal }): Promise<number>
  /** Gives back every lease still open and forgets the subscription's resources in this process; a broadcast subscription ends. */
  close(): Promise<void>
}

export interface DeadLetter {
  readonly id: string
  readonly key?: string | undefined
  /** The JSON text as published. */
  readonly body: string
  readonly headers: Readonly<Record<string, string>>
  readonly publishedAt: Date
  readonly attempt: number
  readonly reason: string
  readonly deadAt: Date
  /** How often it was replayed before. */
  readonly replays: number
  /** Its key waits for it. */
  readonly parked: boolean
}

/** Every operation ends with its signal at the latest. Reading changes nothing and hides nothing from others. */
export interface DeadLetterStore {
  count(destination: string, group: string, options: { signal: AbortSignal }): Promise<number>
  /** Oldest first. */
  list(destination: string, group: string, options: { signal: AbortSignal; limit: number }): Promise<DeadLetter[]>
  /** Delivers them again from attempt 1; one that parks its key goes first and frees it. Resolves to the number found. */
  replay(destination: string, group: string, ids: readonly string[], options: { signal: AbortSignal }): Promise<number>
  /** Forgets them; a key that waits for one goes on without it. Resolves to the number found. */
  discard(destination: string, group: string, ids: readonly string[], options: { signal: AbortSignal }): Promise<number>
  /** Lets the key go on without the dead letter, which stays. ERR_QUEUE_NOT_FOUND when the key is not parked. */
  release(destination: string, group: string, key: string, options: { signal: AbortSignal }): Promise<void>
}
