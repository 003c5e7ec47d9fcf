import { awaitedByMany } from '@platform/kernel'
import type { Link } from './link.ts'
import { returnExchange } from './names.ts'
import type { Target } from './wire.ts'

/** A wait queue is declared anew before this has passed since the last declaration, and so never expires with messages in it. */
const declarationFreshMs = 30_000

/**
 * Wait queues: one for each length of pause, since the broker looks only at the head of a queue for what has run out, shared by all groups
 * and destinations, since what waits remembers by its routing key where it belongs. Pauses are rounded up, so that their number stays at a
 * few tens; unused ones expire.
 */
export class WaitQueues {
  readonly #link: Link
  readonly #declared = new Map<string, { at: number; done: (signal: AbortSignal) => Promise<void> }>()

  constructor(link: Link) {
    this.#link = link
  }

  /** Where to publish what is to come back to the queue (or exchange) of that name. */
  async ensure(backTo: string, delayMs: number, signal: AbortSignal): Promise<Target> {
    const ttl = roundUp(delayMs)
    const name = `platform/wait/${ttl}`
    let known = this.#declared.get(name)
    if (known === undefined || performance.now() - known.at >= declarationFreshMs) {
      const declaring = this.#declare(name, ttl)
      known = { at: performance.now(), done: awaitedByMany(declaring) }
      this.#declared.set(name, known)
      declaring.catch(() => this.forget(name))
    }
    // The declaration is everybody's; the wait is each caller's.
    await known.done(signal)
    return { exchange: name, routingKey: backTo }
  }

  /** Somebody may have deleted it. */
  forget(name: string): void {
    this.#declared.delete(name)
  }

  async #declare(name: string, ttl: number): Promise<void> {
    await this.#link.withChannel(async (channel) => {
      await channel.assertExchange(name, 'fanout', { durable: true })
      await channel.assertQueue(name, {
        durable: true,
        arguments: {
          'x-queue-type': 'quorum',
          'x-message-ttl': ttl,
          'x-expires': ttl + 2 * declarationFreshMs,
          'x-dead-letter-exchange': returnExchange,
          'x-dead-letter-strategy': 'at-least-once',
          'x-overflow': 'reject-publish',
        },
      })
      await channel.bindQueue(name, name, '')
    })
  }
}

/** Four steps an octave up to about a minute, two above. */
export function roundUp(delayMs: number): number {
  const least = Math.max(16, Math.ceil(delayMs))
  const step = 2 ** (Math.floor(Math.log2(least)) - (least <= 65_536 ? 2 : 1))
  return Math.ceil(least / step) * step
}
