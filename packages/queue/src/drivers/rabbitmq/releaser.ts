import { pause } from '@platform/kernel'
import type { Channel, ConsumeMessage, GetMessage } from 'amqplib'
import { Generation } from './intake.ts'
import type { Link } from './link.ts'
import { deadQueue, parkedQueue } from './topology.ts'
import { fromWire, type Control } from './wire.ts'

/** A dead letter that somebody is looking at is not to be had for a moment. */
const patience = { attempts: 20, pauseMs: 100 }

/** Fetches what waits for a key: the dead letter when it is replayed, then the parked messages, in order. */
export class Releaser {
  readonly #link: Link
  readonly #queue: string
  #last: Promise<unknown> = Promise.resolve()

  constructor(link: Link, queue: string) {
    this.#link = link
    this.#queue = queue
  }

  /** One at a time: while a scan holds the parked messages, another would find the queue empty. */
  collect(control: Control, signal: AbortSignal): Promise<{ side: Generation; messages: ConsumeMessage[] }> {
    const collecting = this.#last.then(() => this.#collect(control, signal))
    this.#last = collecting.catch(() => {})
    return collecting
  }

  async #collect(control: Control, signal: AbortSignal): Promise<{ side: Generation; messages: ConsumeMessage[] }> {
    signal.throwIfAborted()
    const side = new Generation(await (await this.#link.connection()).createChannel())
    try {
      const dead = control.op === 'replay' ? await this.#findDead(side, control.id) : []
      const parked = await pick(side.channel, parkedQueue(this.#queue), (message) => fromWire(message)?.key === control.key)
      return { side, messages: [...dead, ...parked] }
    } catch (error) {
      await side.channel.close().catch(() => {})
      throw error
    }
  }

  async #findDead(side: Generation, id: string): Promise<ConsumeMessage[]> {
    for (let attempt = 1; ; attempt += 1) {
      let found = false
      const dead = await pick(side.channel, deadQueue(this.#queue), (message) => {
        const wanted = !found && message.properties.messageId === id
        found ||= wanted
        return wanted
      })
      if (dead.length > 0 || attempt === patience.attempts) return dead
      await pause(patience.pauseMs)
    }
  }
}

/** Takes out what `wanted` chooses, unacknowledged, and puts the rest back in order. */
export async function pick(channel: Channel, queue: string, wanted: (message: GetMessage) => boolean): Promise<ConsumeMessage[]> {
  const picked: GetMessage[] = []
  const rest: GetMessage[] = []
  for (;;) {
    const message = await channel.get(queue)
    if (message === false) break
    if (wanted(message)) picked.push(message)
    else rest.push(message)
  }
  for (const message of rest) channel.nack(message, false, true)
  return picked as unknown as ConsumeMessage[]
}
