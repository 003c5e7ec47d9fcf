import { awaitedByMany, backoffMs, orAborted, pause, settlesWithin } from '@platform/kernel'
import amqp, { type Channel, type ChannelModel } from 'amqplib'
import type { Writable } from 'node:stream'
import { QueueError } from '../../errors.ts'
import { revealCredential, type LoggerLike } from '../../shapes.ts'
import { gatherWrites } from './gather-writes.ts'
import type { ResolvedRabbitmqOptions } from './options.ts'
import { tierOf, type Tier } from './tier.ts'

const heartbeatSeconds = 10
const connectTimeoutMs = 5_000
/** A broker that does not answer must not hold a close: its side ends with the connection. */
const closeTimeoutMs = 2_000
/** What the socket takes before it asks to wait: room for what is gathered in one turn. */
const socketOptions: object = { writableHighWaterMark: 131_072 }

/** One connection that is made when somebody asks and made again after a loss. It holds the process until closed, as its socket does. */
export class Link {
  readonly name: string
  readonly #options: ResolvedRabbitmqOptions
  readonly #logger: LoggerLike
  readonly #closing = new AbortController()
  #dialing: ((signal?: AbortSignal) => Promise<ChannelModel>) | undefined
  #current: ChannelModel | undefined
  #lost = new AbortController()
  #turn = 0
  #tier: Tier | undefined
  /** Set while the broker refuses publishes for want of memory or disk. */
  blockedSince: number | undefined
  onUnblocked: () => void = () => {}

  constructor(options: ResolvedRabbitmqOptions, name: string, logger: LoggerLike) {
    this.#options = options
    this.name = name
    this.#logger = logger
  }

  get up(): boolean {
    return this.#current !== undefined
  }

  /** Known from the first connection on. */
  get tier(): Tier | undefined {
    return this.#tier
  }

  /** Resolves once connected; waits as long as it takes, until closed or aborted. */
  async connected(signal?: AbortSignal): Promise<void> {
    await this.#connection(signal)
  }

  /** A channel of a live connection. Rejects when that is lost meanwhile, which the client itself does not always tell. */
  async open<C extends Channel>(create: (connection: ChannelModel) => Promise<C>, signal?: AbortSignal): Promise<C> {
    const connection = await this.#connection(signal)
    const late = (channel: C): void => void channel.close().catch(() => {})
    return orAborted(orAborted(create(connection), this.#lost.signal, late), signal, late)
  }

  /** Declarations and look-ups happen on channels of their own: what the broker refuses closes the channel, and only that. */
  async withChannel<T>(work: (channel: Channel) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const channel = await this.open((connection) => connection.createChannel(), signal)
    const lost = this.#lost.signal
    channel.on('error', () => {})
    try {
      return await orAborted(orAborted(work(channel), lost), signal)
    } finally {
      // What the channel held is back when the broker has answered.
      const closing = channel.close().catch(() => {})
      if (signal?.aborted !== true && !lost.aborted) await settlesWithin(closing, closeTimeoutMs)
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new QueueError('ERR_QUEUE_CLOSED'))
    this.#dialing?.().catch(() => {})
    const connection = this.#current
    if (connection === undefined) return
    await settlesWithin(connection.close(), closeTimeoutMs)
    // amqplib has no way to give a connection up; a silent one would live on until its heartbeats fail. Only an error ends these.
    streamOf(connection)?.destroy(new Error('the connection was given up'))
  }

  async #connection(signal: AbortSignal | undefined): Promise<ChannelModel> {
    this.#closing.signal.throwIfAborted()
    this.#dialing ??= awaitedByMany(this.#dial())
    return this.#dialing(signal)
  }

  async #dial(): Promise<ChannelModel> {
    for (let attempt = 1; ; attempt += 1) {
      this.#closing.signal.throwIfAborted()
      try {
        return this.#adopt(await this.#connect())
      } catch (error) {
        if (attempt === 1) this.#logger.warn({ err: error, connection: this.name }, 'broker cannot be reached; retrying')
        // Somebody awaits the connection: this pause holds the process.
        await pause(50 + backoffMs(attempt, 100, 5_000), this.#closing.signal).catch(() => {})
      }
    }
  }

  async #connect(): Promise<ChannelModel> {
    const { urls, username, password } = this.#options
    const url = new URL(urls[this.#turn % urls.length] as string)
    this.#turn += 1
    if (!url.searchParams.has('heartbeat')) url.searchParams.set('heartbeat', String(heartbeatSeconds))
    return amqp.connect(url.href, {
      timeout: connectTimeoutMs,
      noDelay: true,
      ...socketOptions,
      clientProperties: { connection_name: this.name },
      ...(this.#options.tls as object),
      ...(username === undefined || password === undefined
        ? {}
        : { credentials: amqp.credentials.plain(username, await revealCredential(password)) }),
    })
  }

  #adopt(connection: ChannelModel): ChannelModel {
    this.#current = connection
    const stream = streamOf(connection)
    if (stream !== undefined) gatherWrites(stream)
    const lost = new AbortController()
    this.#lost = lost
    this.blockedSince = undefined
    const { version } = (connection.connection as unknown as { serverProperties?: { version?: unknown } }).serverProperties ?? {}
    this.#tier = tierOf(version)
    if (this.#tier === undefined) {
      this.#logger.warn(
        { version: String(version).slice(0, 40), connection: this.name },
        'this version of RabbitMQ is not known; 3.10 or later is needed',
      )
    }
    connection.on('error', (error: Error) => {
      if (!this.#closing.signal.aborted) this.#logger.warn({ err: error, connection: this.name }, 'broker connection lost')
    })
    connection.on('blocked', (reason: string) => {
      this.blockedSince = performance.now()
      this.#logger.warn({ reason, connection: this.name }, 'broker refuses publishes')
    })
    connection.on('unblocked', () => {
      this.blockedSince = undefined
      this.onUnblocked()
    })
    connection.once('close', () => {
      lost.abort(new Error('the connection to the broker was lost'))
      this.#current = undefined
      this.#dialing = undefined
      this.blockedSince = undefined
    })
    if (this.#closing.signal.aborted) void connection.close().catch(() => {})
    return connection
  }
}

/** amqplib does not show its socket. */
function streamOf(connection: ChannelModel): Writable | undefined {
  return (connection.connection as unknown as { stream?: Writable }).stream
}
