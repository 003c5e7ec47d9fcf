import { knownOptions } from '@platform/kernel'
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
import { realClock, type Clock } from './clock.ts'
import { Group, type Member } from './group.ts'
import { refuseDeletion } from '../../group-deletion.ts'
import { refuse } from '../../validation.ts'

export interface MemoryOptions {
  /** Time for delays and backoff. Default: real time; `virtualClock()` in tests. */
  clock?: Clock | undefined
}

/**
 * Messages in this process's memory: the reference of the semantics, and the driver of tests. Brokers that share one `memory()` share
 * its messages, as if they were processes at one server. Everything is gone with the process.
 */
export function memory(options: MemoryOptions = {}): QueueDriver {
  knownOptions(refuse, '', options, ['clock'])
  const hub = new Hub(options.clock ?? realClock)
  return { name: 'memory', open: (context) => new MemorySession(hub, context) }
}

class Hub {
  readonly clock: Clock
  /** Open brokers; the first of them is told of a group that is removed. */
  readonly brokers = new Set<DriverContext>()
  readonly #groups = new Map<string, Map<string, Group>>()

  constructor(clock: Clock) {
    this.clock = clock
  }

  publish(destination: string, envelope: Envelope, { delayMs, mandatory }: PublishRequest): void {
    const groups = this.#groups.get(destination)
    if (mandatory && (groups === undefined || groups.size === 0)) {
      throw new QueueError('ERR_QUEUE_UNROUTABLE', { destination, messageId: envelope.id })
    }
    if (delayMs > 0) this.clock.after(delayMs, () => this.#deliver(destination, envelope))
    else this.#deliver(destination, envelope)
  }

  #deliver(destination: string, envelope: Envelope): void {
    for (const group of this.#groups.get(destination)?.values() ?? []) group.enqueue(envelope)
  }

  declare({ destination, group, ordered, broadcast, expiresAfterMs }: Subscription): Group {
    let groups = this.#groups.get(destination)
    if (groups === undefined) this.#groups.set(destination, (groups = new Map<string, Group>()))
    let existing = groups.get(group)
    if (existing === undefined) groups.set(group, (existing = new Group({ ordered, broadcast, clock: this.clock })))
    if (existing.ordered !== ordered) {
      throw new QueueError('ERR_QUEUE_CONFLICT', { destination, detail: `group ${group} is ${existing.ordered ? '' : 'not '}ordered` })
    }
    existing.expiresAfterMs = expiresAfterMs
    return existing
  }

  /** Called when a member has left. */
  mayExpire({ destination, group: name }: Subscription): void {
    const group = this.group(destination, name)
    if (group?.expiresAfterMs === undefined || group.memberCount > 0) return
    const { joins } = group
    this.clock.after(group.expiresAfterMs, () => {
      if (this.group(destination, name) !== group || group.joins !== joins) return
      this.remove(destination, name)
      const [broker] = this.brokers
      broker?.groupExpired({ destination, group: name, messages: group.size })
    })
  }

  remove(destination: string, group: string): void {
    this.#groups.get(destination)?.delete(group)
  }

  group(destination: string, group: string): Group | undefined {
    return this.#groups.get(destination)?.get(group)
  }
}

class MemorySession implements DriverSession {
  readonly #hub: Hub
  readonly #context: DriverContext
  readonly deadLetters: DeadLetterStore

  constructor(hub: Hub, context: DriverContext) {
    this.#hub = hub
    this.#context = context
    hub.brokers.add(context)
    this.deadLetters = {
      count: async (destination, group) => hub.group(destination, group)?.deadCount ?? 0,
      list: async (destination, group, { limit }) => hub.group(destination, group)?.deadLetters(limit) ?? [],
      replay: async (destination, group, ids) => ids.filter((id) => hub.group(destination, group)?.replay(id) === true).length,
      discard: async (destination, group, ids) => ids.filter((id) => hub.group(destination, group)?.discard(id) === true).length,
      release: async (destination, group, key) => {
        if (hub.group(destination, group)?.release(key) !== true) throw new QueueError('ERR_QUEUE_NOT_FOUND', { destination })
      },
    }
  }

  async deleteGroup(destination: string, name: string, { discard }: { discard: boolean }): Promise<boolean> {
    const group = this.#hub.group(destination, name)
    if (group === undefined) return false
    refuseDeletion(destination, name, { members: group.memberCount, messages: group.size, discard })
    this.#hub.remove(destination, name)
    return true
  }

  async ready(): Promise<void> {}

  async check(): Promise<void> {}

  async publish(destination: string, envelope: Envelope, request: PublishRequest): Promise<void> {
    request.signal.throwIfAborted()
    this.#hub.publish(destination, envelope, request)
  }

  async subscribe(subscription: Subscription, receive: Receive): Promise<DriverSubscription> {
    const group = this.#hub.declare(subscription)
    const member: Member = { receive, concurrency: subscription.concurrency, busy: 0, paused: false, leases: new Set() }
    group.join(member)
    // A subscription keeps the process alive, as a socket to a server would.
    const alive = setInterval(() => {}, 2 ** 30)
    return {
      trouble: () => undefined,
      depth: async () => group.waiting,
      quiesce: async () => {
        member.paused = true
      },
      close: async () => {
        member.paused = true
        clearInterval(alive)
        group.leave(member)
        if (subscription.broadcast) this.#hub.remove(subscription.destination, subscription.group)
        else this.#hub.mayExpire(subscription)
      },
    }
  }

  async close(): Promise<void> {
    this.#hub.brokers.delete(this.#context)
  }
}
