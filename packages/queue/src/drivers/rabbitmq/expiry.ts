import { backgroundPause, pause } from '@platform/kernel'
import type { ConsumeMessage } from 'amqplib'
import type { DriverContext, Subscription } from '../../driver.ts'
import { QueueError } from '../../errors.ts'
import { looksBeforeExpiry } from '../../group-expiry.ts'
import { noteToWire, parseNote, type ExpiryNote } from './expiry-note.ts'
import { replyCode } from './faults.ts'
import type { Generation } from './generation.ts'
import { removeGroup, seeGroup } from './group.ts'
import { Intake } from './intake.ts'
import type { Link } from './link.ts'
import { expiryLooks, expiryQueue, groupName, removalLock } from './names.ts'
import type { ConfirmPublisher } from './publisher.ts'
import { declareSubscription, expiryLooksTopology, expiryTopology, orMissing, queueCounts } from './topology.ts'

const noteTimeoutMs = 2_000
const lookTimeoutMs = 15_000
const againMs = 1_000
const lockedLookMs = 50

/**
 * Groups that are removed when nobody was there for long enough. The broker has the clock: a note about the group waits in a queue for a part of the
 * time and arrives where every process listens; whoever gets it looks for members, and sends it on its way again or removes the group. So a time
 * counts only when somebody was there to look at its end: `looksBeforeExpiry`.
 *
 * Who subscribes sends a note of its own, and one that finds a younger one waiting is dropped. Who subscribes while the group is being removed waits
 * for that: the remover takes the lock and only then looks for members and younger notes; a member sends its note and only then looks for the lock.
 */
export class Expiry {
  readonly #publisher: ConfirmPublisher
  readonly #context: DriverContext
  readonly #stop = new AbortController()
  /** The broker's lock lets this process through. */
  readonly #removing = new Map<string, Promise<void>>()
  #looks: Intake | undefined

  constructor(publisher: ConfirmPublisher, context: DriverContext) {
    this.#publisher = publisher
    this.#context = context
  }

  /** From then on this process looks when a note arrives. Called once a destination is declared. */
  begin(link: Link): void {
    if (this.#stop.signal.aborted) return
    this.#looks ??= new Intake({
      link,
      queue: expiryLooks,
      prefetch: 1,
      logger: this.#context.logger,
      prepare: () => link.withChannel(async (channel) => void (await channel.assertQueue(expiryLooks, expiryLooksTopology.options))),
      handlers: { message: (message, generation) => void this.#look(link, message, generation), ended: () => {} },
    })
  }

  async close(): Promise<void> {
    this.#stop.abort(new QueueError('ERR_QUEUE_CLOSED'))
    await this.#looks?.close()
  }

  /** Declares what a subscription stands on; somebody is here. */
  async declare(link: Link, subscription: Subscription, signal: AbortSignal = this.#stop.signal): Promise<void> {
    const { destination, group, broadcast, expiresAfterMs } = subscription
    const noted = !broadcast && (await queueCounts(link, expiryQueue(destination, group), signal)) !== undefined
    await declareSubscription(link, subscription, signal)
    if (broadcast || (expiresAfterMs === undefined && !noted)) return
    while (!(await this.#appear(link, subscription, signal))) await pause(lockedLookMs, signal)
    // What was there before may have been removed meanwhile.
    await declareSubscription(link, subscription, signal)
  }

  /** False while the group is being removed. */
  async #appear(link: Link, { destination, group, expiresAfterMs }: Subscription, signal: AbortSignal): Promise<boolean> {
    const queue = expiryQueue(destination, group)
    if (expiresAfterMs === undefined) await link.withChannel((channel) => channel.deleteQueue(queue), signal)
    else {
      await link.withChannel((channel) => channel.assertQueue(queue, expiryTopology(destination, group).options), signal)
      await this.#note({ destination, group, expiresAfterMs, absent: 0 }, signal)
    }
    await this.#removing.get(groupName(destination, group))
    try {
      const lock = await orMissing(link.withChannel((channel) => channel.checkQueue(removalLock(destination, group)), signal))
      if (lock !== undefined) return false
    } catch (error) {
      if (replyCode(error) === 405) return false
      throw error
    }
    return expiresAfterMs === undefined || (await queueCounts(link, queue, signal)) !== undefined
  }

  /** A broker short of memory takes no note; to subscribe does not wait for that, and members are seen without it. */
  async #note(note: ExpiryNote, signal: AbortSignal): Promise<void> {
    try {
      await this.#send(note, AbortSignal.any([signal, AbortSignal.timeout(noteTimeoutMs)]))
    } catch (error) {
      signal.throwIfAborted()
      if (QueueError.isInstance(error) && error.code === 'ERR_QUEUE_UNROUTABLE') return
      this.#context.logger.debug({ err: error, group: note.group }, 'when the group expires could not be noted; trying again')
      void this.#noteLater(note)
    }
  }

  async #noteLater(note: ExpiryNote): Promise<void> {
    const { signal } = this.#stop
    for (let done = false; !done && !signal.aborted; ) {
      await backgroundPause(againMs, signal)
      done = await this.#send(note, AbortSignal.any([signal, AbortSignal.timeout(lookTimeoutMs)])).then(
        () => true,
        (error: unknown) => QueueError.isInstance(error) && error.code === 'ERR_QUEUE_UNROUTABLE',
      )
    }
  }

  #send(note: ExpiryNote, signal: AbortSignal): Promise<void> {
    const target = { exchange: '', routingKey: expiryQueue(note.destination, note.group) }
    const waitMs = Math.ceil(note.expiresAfterMs / looksBeforeExpiry)
    return this.#publisher.send(target, noteToWire(note, waitMs), { mandatory: true, signal })
  }

  async #look(link: Link, message: ConsumeMessage, generation: Generation): Promise<void> {
    const note = parseNote(message.content)
    try {
      if (note !== undefined) await this.#judge(link, note, AbortSignal.any([generation.signal, AbortSignal.timeout(lookTimeoutMs)]))
      generation.ack(message)
    } catch (error) {
      if (!generation.alive) return
      this.#context.logger.debug({ err: error, group: note?.group }, 'members of a group could not be looked for; trying again')
      await backgroundPause(againMs, this.#stop.signal)
      if (generation.alive && !this.#stop.signal.aborted) generation.requeue(message)
    }
  }

  async #judge(link: Link, note: ExpiryNote, signal: AbortSignal): Promise<void> {
    const { destination, group, absent } = note
    const seen = await seeGroup(link, destination, group, signal)
    if (seen === undefined) return void (await link.withChannel((channel) => channel.deleteQueue(expiryQueue(destination, group)), signal))
    if (!(await this.#isYoungest(link, note, signal))) return
    // The first of these looks says nothing of the time before it.
    if (seen.members === 0 && absent >= looksBeforeExpiry && (await this.#remove(link, note, signal))) return
    try {
      await this.#send({ ...note, absent: seen.members > 0 ? 0 : Math.min(absent + 1, looksBeforeExpiry) }, signal)
    } catch (error) {
      // Nobody wants to know any more.
      if (!QueueError.isInstance(error) || error.code !== 'ERR_QUEUE_UNROUTABLE') throw error
    }
  }

  async #isYoungest(link: Link, { destination, group }: ExpiryNote, signal: AbortSignal): Promise<boolean> {
    return (await queueCounts(link, expiryQueue(destination, group), signal))?.messages === 0
  }

  /** False when somebody came. */
  async #remove(link: Link, note: ExpiryNote, signal: AbortSignal): Promise<boolean> {
    const { destination, group } = note
    const name = groupName(destination, group)
    const removed = this.#locked(link, removalLock(destination, group), signal, async () => {
      const seen = await seeGroup(link, destination, group, signal)
      if (seen === undefined || seen.members > 0 || !(await this.#isYoungest(link, note, signal))) return undefined
      await removeGroup(link, destination, group, { layouts: seen.layouts, signal })
      return seen.messages
    })
    const over = removed.then(
      () => {},
      () => {},
    )
    this.#removing.set(name, over)
    const messages = await removed.finally(() => this.#removing.delete(name))
    if (messages === undefined) return false
    this.#context.groupExpired({ destination, group, messages })
    return true
  }

  /** The broker gives the lock to one connection, and takes it away with it. */
  #locked<T>(link: Link, lock: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return link.withChannel(async (channel) => {
      await channel.assertQueue(lock, { exclusive: true, durable: false })
      try {
        return await work()
      } finally {
        // Also when the channel was closed meanwhile: the connection would keep the lock.
        await channel.deleteQueue(lock).catch(() => link.withChannel((fresh) => fresh.deleteQueue(lock)).catch(() => {}))
      }
    }, signal)
  }
}
