import type { ConfirmChannel, Message } from 'amqplib'
import { onAbort } from '../../abort-listeners.ts'
import { QueueError } from '../../errors.ts'
import { Shelf } from '../../shelf.ts'
import { replyCode } from './faults.ts'
import { FrameWriter } from './frame-writer.ts'
import type { Link } from './link.ts'
import type { Target, WireMessage } from './wire.ts'

export interface SendRequest {
  /** Reject with ERR_QUEUE_UNROUTABLE when no queue takes it. */
  readonly mandatory: boolean
  readonly signal: AbortSignal
}

class Entry {
  readonly target: Target
  readonly message: WireMessage
  readonly mandatory: boolean
  readonly signal: AbortSignal
  returned = false
  /** Which of all sendings its last one was, while it is in flight. */
  sending = 0
  readonly #resolve: () => void
  readonly #reject: (error: unknown) => void
  readonly #stopWaiting: () => void

  constructor(
    { target, message, request }: { target: Target; message: WireMessage; request: SendRequest },
    caller: { resolve: () => void; reject: (error: unknown) => void; leave: (entry: Entry) => void },
  ) {
    this.target = target
    this.message = message
    this.mandatory = request.mandatory
    this.signal = request.signal
    this.#resolve = caller.resolve
    this.#reject = caller.reject
    this.#stopWaiting = onAbort(request.signal, () => caller.leave(this))
  }

  /** Settles the caller's promise: with an error, or well. */
  settle(error?: unknown): void {
    this.#stopWaiting()
    if (error === undefined) this.#resolve()
    else this.#reject(error)
  }
}

/** With a full socket no more than this is handed to it. */
const mostBytesInFlight = 1_048_576

/** An error of the channel, not of the connection: the broker did not like one of the messages in flight, and does not say which. */
interface Refusal {
  readonly error: unknown
}

/**
 * Publishes with confirms on one channel: a bounded number in flight, the rest waits in order. When the connection is lost, what was in
 * flight has an unknown fate and is rejected as such; what waited goes out on the next channel. When the broker closes the channel because
 * of one message, those in flight go out once more, each alone, so that only the one it does not like is refused.
 */
export class ConfirmPublisher {
  readonly #link: Link
  readonly #window: number
  readonly #maxMessageBytes: number
  #waiting = new Set<Entry>()
  /** To be sent alone, before everything that waits. */
  readonly #alone = new Set<Entry>()
  readonly #inFlight = new Shelf<Entry>()
  #channel: ConfirmChannel | undefined
  #frames: FrameWriter | undefined
  #opening = false
  /** The socket's buffer is full: what goes on is bounded by bytes, not by the few kilobytes that the client holds before it says so. */
  #full = false
  #bytes = 0
  #sequence = 0
  #refusal: Refusal | undefined
  #idle: (() => void)[] = []

  constructor(link: Link, { maxUnconfirmed, maxMessageBytes }: { maxUnconfirmed: number; maxMessageBytes: number }) {
    this.#link = link
    this.#window = maxUnconfirmed
    this.#maxMessageBytes = maxMessageBytes
    link.onUnblocked = () => this.#pump()
  }

  get kept(): number {
    return this.#waiting.size + this.#alone.size + this.#inFlight.size
  }

  send(target: Target, message: WireMessage, request: SendRequest): Promise<void> {
    return new Promise((resolve, reject) => {
      if (request.signal.aborted) return reject(request.signal.reason as Error)
      const bytes = message.content.byteLength
      if (bytes > this.#maxMessageBytes) return reject(this.#tooLarge(bytes))
      const entry = new Entry({ target, message, request }, { resolve, reject, leave: this.#leave })
      const channel = this.#channel
      if (channel !== undefined && this.#waiting.size === 0 && this.#alone.size === 0 && this.#mayTransmit()) {
        return this.#transmit(channel, entry)
      }
      this.#waiting.add(entry)
      this.#pump()
    })
  }

  /** In flight it stays known by its tag, since the confirm will come. */
  readonly #leave = (entry: Entry): void => {
    this.#waiting.delete(entry)
    this.#alone.delete(entry)
    entry.settle(entry.signal.reason)
    this.#settleIdle()
  }

  #tooLarge(bytes: number): QueueError {
    return new QueueError('ERR_QUEUE_REFUSED', {
      detail: `the body has ${bytes} bytes, more than maxMessageBytes (${this.#maxMessageBytes})`,
    })
  }

  /** Resolves when nothing waits and nothing is in flight. */
  async flushed(): Promise<void> {
    if (this.kept > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  #pump(): void {
    const channel = this.#channel
    if (channel === undefined) {
      if (!this.#opening && this.#waiting.size + this.#alone.size > 0) void this.#open()
      return
    }
    while (this.#mayTransmit()) {
      const next = this.#next()
      if (next === undefined) break
      this.#transmit(channel, next)
    }
    this.#settleIdle()
  }

  #mayTransmit(): boolean {
    const window = this.#alone.size > 0 ? 1 : this.#window
    const room = !this.#full || this.#bytes < mostBytesInFlight
    return this.#channel !== undefined && this.#inFlight.size < window && room && this.#link.blockedSince === undefined
  }

  #next(): Entry | undefined {
    const list = this.#alone.size > 0 ? this.#alone : this.#waiting
    for (const entry of list) {
      list.delete(entry)
      return entry
    }
    return undefined
  }

  #transmit(channel: ConfirmChannel, entry: Entry): void {
    const sending = (this.#sequence += 1)
    entry.sending = sending
    const place = this.#inFlight.put(entry)
    const { message } = entry
    this.#bytes += message.content.byteLength
    message.options.mandatory = entry.mandatory
    // Finds the entry of a returned message, which comes before its confirm.
    message.options.correlationId = String(place)
    const confirmed = (error: unknown): void => {
      if (!this.#landed(entry, sending, place)) return
      if (error !== null && error !== undefined) entry.settle(new QueueError('ERR_QUEUE_REFUSED', { cause: error }))
      else entry.settle(entry.returned ? new QueueError('ERR_QUEUE_UNROUTABLE') : undefined)
      this.#pump()
    }
    try {
      const { exchange, routingKey } = entry.target
      this.#full =
        this.#frames === undefined
          ? !channel.publish(exchange, routingKey, message.content, message.options, confirmed)
          : !this.#frames.publish(entry.target, message, confirmed)
    } catch (error) {
      this.#landed(entry, sending, place)
      entry.settle(new QueueError('ERR_QUEUE_REFUSED', { cause: error }))
      // The client has counted a confirm that will never come: on this channel every later one would be taken for another's.
      if (this.#frames === undefined) this.#renew(channel)
    }
  }

  /** False after a loss: the channel's owner has settled it, or sends it again. */
  #landed(entry: Entry, sending: number, place: number): boolean {
    if (entry.sending !== sending) return false
    entry.sending = 0
    this.#inFlight.take(place, entry)
    this.#bytes -= entry.message.content.byteLength
    return true
  }

  #renew(channel: ConfirmChannel): void {
    if (this.#channel !== channel) return
    this.#refusal = { error: undefined }
    channel.close().catch(() => {})
    this.#lost(channel)
  }

  async #open(): Promise<void> {
    this.#opening = true
    try {
      const channel = await this.#link.open((connection) => connection.createConfirmChannel())
      this.#refusal = undefined
      channel.on('error', (error: unknown) => {
        if (this.#channel === channel && replyCode(error) !== undefined) this.#refusal = { error }
      })
      channel.on('return', (message: Message) => {
        const entry = this.#inFlight.get(Number(message.properties.correlationId))
        if (entry !== undefined) entry.returned = true
      })
      const drained = (): void => {
        this.#full = false
        this.#pump()
      }
      const frames = FrameWriter.of(channel)
      if (frames === undefined) channel.on('drain', drained)
      else frames.onDrain(drained)
      // Before amqplib's own listener, which would report every unconfirmed message as refused.
      channel.prependOnceListener('close', () => this.#lost(channel))
      this.#full = false
      this.#channel = channel
      this.#frames = frames
    } catch (error) {
      if (QueueError.isInstance(error)) for (const entry of [...this.#alone, ...this.#waiting]) entry.settle(error)
      if (QueueError.isInstance(error)) this.#forgetAll()
    } finally {
      this.#opening = false
    }
    this.#pump()
  }

  #forgetAll(): void {
    this.#alone.clear()
    this.#waiting.clear()
    this.#settleIdle()
  }

  #lost(channel: ConfirmChannel): void {
    if (this.#channel !== channel) return
    this.#channel = undefined
    this.#frames?.end()
    this.#frames = undefined
    const inFlight = this.#inFlight.clear().toSorted((a, b) => a.sending - b.sending)
    for (const entry of inFlight) entry.sending = 0
    this.#bytes = 0
    const refusal = this.#refusal
    this.#refusal = undefined
    if (refusal === undefined) {
      for (const entry of inFlight) entry.settle(new QueueError('ERR_QUEUE_INDETERMINATE'))
    } else if (inFlight.length === 1 && refusal.error !== undefined) {
      inFlight[0]?.settle(new QueueError('ERR_QUEUE_REFUSED', { cause: refusal.error }))
    } else {
      const before = [...this.#alone]
      this.#alone.clear()
      for (const entry of [...inFlight, ...before]) {
        if (entry.signal.aborted) continue
        entry.returned = false
        this.#alone.add(entry)
      }
    }
    this.#pump()
    this.#settleIdle()
  }

  #settleIdle(): void {
    if (this.kept === 0) for (const resolve of this.#idle.splice(0)) resolve()
  }
}
