import { backgroundTimeout, backoffMs, orAborted, pause } from '@platform/kernel'
import { type Cluster, type ClusterOptions, Redis } from 'ioredis'
import { QueueError } from '../../errors.ts'
import { faultOf, isShutOut, isTooOld, plain, type Fault } from './faults.ts'
import type { ResolvedRedisOptions } from './options.ts'
import type { Argument, Script } from './script.ts'

/** A server that owes an answer and says nothing for so long has lost its connection: what waits for it hears so. */
const silenceMs = 10_000

interface Settings {
  /** Whether commands wait for a connection; otherwise they fail at once, and none is sent twice behind our back. */
  readonly patient: boolean
}

/** A connection of ours, opened by its first command. */
export function makeClient({ server }: ResolvedRedisOptions, { patient }: Settings, onError: (error: Error) => void): Redis | Cluster {
  const retryStrategy = (times: number): number => 20 + backoffMs(times, 100, 2_000)
  const shared = { lazyConnect: true, enableOfflineQueue: patient, keyPrefix: '' }
  const own = {
    connectTimeout: 5_000,
    keepAlive: 10_000,
    maxRetriesPerRequest: patient ? null : 0,
    autoResendUnfulfilledCommands: patient,
    autoResubscribe: patient,
    // A master that has become a replica: the name may lead to the new one.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  }
  if ('url' in server) {
    const settings = { ...shared, ...own, retryStrategy }
    return watched(new Redis(server.url, server.tls ? { ...settings, tls: server.tls } : settings), onError)
  }
  const { client } = server
  if (!('nodes' in client)) return watched(client.duplicate({ ...shared, ...own, retryStrategy }), onError)
  const options: ClusterOptions = {
    ...shared,
    clusterRetryStrategy: retryStrategy,
    redisOptions: { ...client.options.redisOptions, ...own },
  }
  return watched(client.duplicate([], options as never) as Cluster, onError)
}

function watched<T extends Redis | Cluster>(client: T, onError: (error: Error) => void): T {
  client.on('error', onError)
  // Whichever version of ioredis it comes from.
  if (!('nodes' in client)) watchConnecting(client as Redis)
  return client
}

function watchConnecting(client: Redis): void {
  // ioredis hears one error of each connection. TLS may have a second one when it is closed amid its handshake, and an error that nobody hears ends the process.
  client.on('connecting', () => setImmediate(() => client.stream?.on('error', () => undefined)))
  // What accepts connections and does not greet is tried anew.
  let greeting: NodeJS.Timeout | undefined
  client.on('connect', () => (greeting = backgroundTimeout(() => client.disconnect(true), silenceMs)))
  for (const event of ['ready', 'close']) client.on(event, () => clearTimeout(greeting))
}

/** The connection for commands. Every command ends, by the server's silence at the latest. */
export class Connection {
  readonly #client: Redis | Cluster
  #opening: Promise<void> | undefined
  #owed = 0
  #heardAt = 0
  #watch: NodeJS.Timeout | undefined
  #closed = false
  /** The server lets us in no more: what it said. */
  #shutOut: Error | undefined

  constructor(options: ResolvedRedisOptions, onError: (error: Error) => void) {
    this.#client = makeClient(options, { patient: false }, (error) => {
      if (isShutOut(error)) this.#shutOut = error
      onError(error)
    })
    this.#client.on('ready', () => (this.#shutOut = undefined))
  }

  /** Rejects with what ioredis says, see `faultOf`. */
  async run(script: Script, key: string, ...args: readonly Argument[]): Promise<unknown> {
    if (this.#owed === 0) this.#heardAt = performance.now()
    this.#owed += 1
    this.#watch ??= setInterval(() => this.#look(), silenceMs / 10)
    try {
      // The first connection is waited for, however it ends; while a lost one is made anew commands fail.
      if (this.#client.status === 'wait' && !this.#closed) this.#opening = this.#client.connect().catch(() => {})
      if (this.#client.status !== 'ready') await this.#opening
      return await script.run(this.#client, key, args)
    } catch (error) {
      throw faultOf(error) === 'unsent' && this.#shutOut !== undefined ? this.#shutOut : error
    } finally {
      this.#owed -= 1
      this.#heardAt = performance.now()
    }
  }

  /** Until it is done or the signal aborts. `repeat` says what else than "not now" is tried again: for what may safely be done twice, a lost answer. */
  async persist(
    signal: AbortSignal,
    repeat: 'lost' | 'unsent',
    script: Script,
    key: string,
    ...args: readonly Argument[]
  ): Promise<unknown> {
    for (let failures = 1; ; failures += 1) {
      signal.throwIfAborted()
      let fault: Fault
      let cause: unknown
      let detail: string | undefined
      try {
        return await orAborted(this.run(script, key, ...args), signal)
      } catch (error) {
        signal.throwIfAborted()
        fault = faultOf(error)
        cause = plain(error)
        detail = isTooOld(error) ? 'Redis 7 or later is needed' : undefined
      }
      if (this.#closed) throw new QueueError('ERR_QUEUE_CLOSED', { cause })
      if (fault === 'refused') throw new QueueError('ERR_QUEUE_REFUSED', { cause, detail })
      if (fault === 'lost' && repeat !== 'lost') throw new QueueError('ERR_QUEUE_INDETERMINATE', { cause })
      await pause(20 + backoffMs(failures, 50, 1_000), signal)
    }
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#watch)
    this.#client.disconnect()
  }

  #look(): void {
    if (this.#owed === 0) {
      clearInterval(this.#watch)
      this.#watch = undefined
    } else if (performance.now() - this.#heardAt > silenceMs) {
      this.#heardAt = performance.now()
      this.#client.disconnect(true)
    }
  }
}
