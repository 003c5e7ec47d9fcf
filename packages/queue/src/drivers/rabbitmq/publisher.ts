import type { ConfirmChannel, Message } from 'amqplib'
import { QueueError } from '../../errors.ts'
import type { Link } from './link.ts'
import type { WireMessage } from './wire.ts'

export interface Target {
  readonly exchange: string
  readonly routingKey: string
}

export interface SendRequest {
  /** Reject with ERR_QUEUE_UNROUTABLE when no queue takes it. */
  readonly mandatory: boolean
  readonly signal: AbortSignal
}

interface Entry extends SendRequest {
  readonly target: Target
  readonly message: WireMessage
  resolve(): void
  reject(error: unknown): void
  returned: boolean
}

/**
 * Publishes with confirms on one channel: a bounded number in flight, the rest waits in order. What was in flight when the channel is
 * lost has an unknown fate and is rejected as such; what waited goes out on the next channel.
 */
export class ConfirmPublisher {
  readonly #link: Link
  readonly #window: number
  #waiting: Entry[] = []
  readonly #inFlight = new Map<string, Entry>()
  #channel: ConfirmChannel | undefined
  #opening = false
  #full = false
  #sequence = 0
  #closed = false
  #idle: (() => void)[] = []

  constructor(link: Link, window: number) {
    this.#link = link
    this.#window = window
    link.onUnblocked = () => this.#pump()
  }

  send(target: Target, message: WireMessage, request: SendRequest): Promise<void> {
    return new Promise((resolve, reject) => {
      const { mandatory, signal } = request
      this.#waiting.push({ target, message, mandatory, signal, resolve, reject, returned: false })
      this.#pump()
    })
  }

  /** Resolves when nothing waits and nothing is in flight, or at the abort. */
  async flushed(signal: AbortSignal | undefined): Promise<void> {
    this.#closed = true
    if (this.#waiting.length + this.#inFlight.size === 0 || signal?.aborted === true) return
    await new Promise<void>((resolve) => {
      this.#idle.push(resolve)
      signal?.addEventListener('abort', () => resolve(), { once: true })
    })
  }

  #pump(): void {
    const channel = this.#channel
    if (channel === undefined) {
      if (!this.#opening && this.#waiting.length > 0) void this.#open()
      return
    }
    let next = 0
    while (next < this.#waiting.length && this.#inFlight.size < this.#window && !this.#full && this.#link.blockedSince === undefined) {
      const entry = this.#waiting[next] as Entry
      next += 1
      if (entry.signal.aborted) entry.reject(entry.signal.reason)
      else this.#transmit(channel, entry)
    }
    this.#waiting.splice(0, next)
    this.#settleIdle()
  }

  #transmit(channel: ConfirmChannel, entry: Entry): void {
    this.#sequence += 1
    const tag = String(this.#sequence)
    this.#inFlight.set(tag, entry)
    const { target, message, mandatory } = entry
    const confirmed = (error: unknown): void => {
      // After a loss the channel's owner has settled it.
      if (!this.#inFlight.delete(tag)) return
      if (error !== null && error !== undefined) entry.reject(new QueueError('ERR_QUEUE_REFUSED', { cause: error }))
      else if (entry.returned) entry.reject(new QueueError('ERR_QUEUE_UNROUTABLE'))
      else entry.resolve()
      this.#pump()
    }
    try {
      // The correlation id finds the entry of a returned message, which comes before its confirm.
      this.#full = !channel.publish(
        target.exchange,
        target.routingKey,
        message.content,
        { ...message.options, mandatory, correlationId: tag },
        confirmed,
      )
    } catch (error) {
      this.#inFlight.delete(tag)
      entry.reject(new QueueError('ERR_QUEUE_REFUSED', { cause: error }))
    }
  }

  async #open(): Promise<void> {
    this.#opening = true
    try {
      const channel = await (await this.#link.connection()).createConfirmChannel()
      channel.on('error', () => {})
      channel.on('return', (message: Message) => {
        const entry = this.#inFlight.get(String(message.properties.correlationId))
        if (entry !== undefined) entry.returned = true
      })
      channel.on('drain', () => {
        this.#full = false
        this.#pump()
      })
      // Before amqplib's own listener, which would report every unconfirmed message as refused.
      channel.prependOnceListener('close', () => this.#lost(channel))
      this.#full = false
      this.#channel = channel
    } catch (error) {
      if (QueueError.isInstance(error)) for (const entry of this.#waiting.splice(0)) entry.reject(error)
    } finally {
      this.#opening = false
    }
    this.#pump()
  }

  #lost(channel: ConfirmChannel): void {
    if (this.#channel !== channel) return
    this.#channel = undefined
    const unknown = [...this.#inFlight.values()]
    this.#inFlight.clear()
    for (const entry of unknown) entry.reject(new QueueError('ERR_QUEUE_INDETERMINATE'))
    this.#pump()
    this.#settleIdle()
  }

  #settleIdle(): void {
    if (!this.#closed || this.#waiting.length + this.#inFlight.size > 0) return
    for (const resolve of this.#idle.splice(0)) resolve()
  }
}
