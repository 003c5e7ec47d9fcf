import { connect, createServer, type Server, type Socket } from 'node:net'
import { backgroundTimeout, choiceOption, integerOption, knownOptions, numberOption } from '@platform/kernel'
import { StackError } from './errors.ts'
import { wrong } from './options.ts'
import { freePort } from './ports.ts'
import { type Fault, noFault, ProxiedFlow } from './proxied-flow.ts'

export interface Direction {
  /** The direction that is meant. Default: both. */
  direction?: 'to-server' | 'to-client' | undefined
}

/** A TCP proxy on loopback that misbehaves when told to. Faults add up until `restore()`. */
export interface FaultProxy extends AsyncDisposable {
  /** What was passed in, with this proxy's address; credentials and path stay. */
  readonly url: string
  readonly host: string
  readonly port: number
  /** Open at the moment. */
  readonly connections: number
  /** Ever accepted. */
  readonly accepted: number
  /** Resets all connections and refuses new ones. */
  cut(): void
  /**
   * Keeps connections, accepts new ones, passes nothing: no data, no end, no reset, and no new connection to the server. What happens meanwhile
   * arrives after `restore()`.
   */
  silence(direction?: Direction): void
  /** Holds every piece of data back; 0 to 600,000. */
  delay(ms: number, direction?: Direction): void
  /** Lets so many bytes a second pass, on each connection; at least 1. */
  throttle(bytesPerSecond: number, direction?: Direction): void
  /** Passes data in writes of so many bytes at most, a millisecond apart; at least 1. */
  slice(bytes: number, direction?: Direction): void
  /** Lets so many bytes more pass on each open connection, then resets it: in the middle of a message; at least 0. */
  tear(bytes: number, direction?: Direction): void
  /** Back to plain forwarding. */
  restore(): void
  close(): Promise<void>
}

const defaultPorts: Record<string, number> = {
  'postgres:': 5432,
  'postgresql:': 5432,
  'redis:': 6379,
  'amqp:': 5672,
  'http:': 80,
}
const relistenMs = 20

/** `target`: a `postgres://`, `redis://`, `amqp://` or `http://` URL, or `host:port`; IPv6 addresses in brackets. */
export async function faultProxy(target: string): Promise<FaultProxy> {
  const { host, port } = readTarget(target)
  for (let attempt = 1; ; attempt++) {
    const proxy = new TcpFaultProxy(host, port, target, await freePort())
    try {
      await proxy.listen()
      return proxy
    } catch (cause) {
      if (attempt === 5) throw new StackError('ERR_STACK_SYSTEM', `a proxy cannot listen: ${(cause as Error).message}`, { cause })
    }
  }
}

function readTarget(target: string): { host: string; port: number } {
  const refused = () => wrong('target', 'must be a URL or host:port')
  if (typeof target !== 'string') throw refused()
  const text = target.includes('://') ? target : `tcp://${target}`
  const url = URL.canParse(text) ? new URL(text) : undefined
  const port = url && (Number(url.port) || defaultPorts[url.protocol])
  if (!url || !port || url.hostname === '') throw refused()
  return { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port }
}

/** Everything but host and port stays as it was written. */
function withAddress(target: string, address: string): string {
  const scheme = target.indexOf('://')
  if (scheme < 0) return address
  const begin = scheme + 3
  const length = target.slice(begin).search(/[/?#]/)
  const end = length < 0 ? target.length : begin + length
  const credentials = target.slice(begin, target.lastIndexOf('@', end - 1) + 1)
  return `${target.slice(0, begin)}${credentials}${address}${target.slice(end)}`
}

class TcpFaultProxy implements FaultProxy {
  readonly url: string
  readonly host = '127.0.0.1'
  readonly port: number
  accepted = 0
  readonly #targetHost: string
  readonly #targetPort: number
  readonly #pairs = new Set<Pair>()
  #listener: Server | undefined
  #relisten: NodeJS.Timeout | undefined
  #faults: Record<Way, Fault> = { 'to-server': noFault, 'to-client': noFault }
  #closing: Promise<void> | undefined

  constructor(targetHost: string, targetPort: number, target: string, port: number) {
    this.#targetHost = targetHost
    this.#targetPort = targetPort
    this.port = port
    this.url = withAddress(target, `127.0.0.1:${port}`)
  }

  get connections(): number {
    return this.#pairs.size
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      const listener = createServer({ allowHalfOpen: true }, (client) => this.#accept(client))
      this.#listener = listener
      listener.once('error', reject)
      listener.listen({ host: this.host, port: this.port }, resolve)
    })
  }

  cut(): void {
    clearTimeout(this.#relisten)
    this.#listener?.close()
    this.#listener = undefined
    for (const pair of this.#pairs) pair.reset()
  }

  silence(direction?: Direction): void {
    this.#set({ silent: true }, direction)
  }

  delay(ms: number, direction?: Direction): void {
    this.#set({ delayMs: numberOption(wrong, 'ms', ms, 0, 600_000) }, direction)
  }

  throttle(bytesPerSecond: number, direction?: Direction): void {
    this.#set({ rate: numberOption(wrong, 'bytesPerSecond', bytesPerSecond, 1) }, direction)
  }

  slice(bytes: number, direction?: Direction): void {
    this.#set({ pieceBytes: integerOption(wrong, 'bytes', bytes, 1) }, direction)
  }

  tear(bytes: number, direction?: Direction): void {
    integerOption(wrong, 'bytes', bytes, 0)
    for (const way of waysOf(direction)) for (const pair of this.#pairs) pair.tear(way, bytes)
  }

  restore(): void {
    this.#set(noFault)
    if (this.#listener || this.#closing) return
    // Nobody should have taken the port meanwhile; if somebody did, it is tried again until it is free.
    const again = () => {
      if (this.#closing) return
      this.#relisten = backgroundTimeout(() => void this.listen().catch(again), relistenMs)
    }
    this.listen().catch(again)
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      clearTimeout(this.#relisten)
      for (const pair of this.#pairs) pair.reset()
      if (this.#listener) this.#listener.close(() => resolve())
      else resolve()
    })
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #set(change: Partial<Fault>, direction?: Direction): void {
    for (const way of waysOf(direction)) this.#faults[way] = { ...this.#faults[way], ...change }
    for (const pair of this.#pairs) pair.set(this.#faults)
  }

  #accept(client: Socket): void {
    this.accepted++
    const dial = () => connect({ host: this.#targetHost, port: this.#targetPort, allowHalfOpen: true })
    const pair = new Pair(client, dial, () => this.#pairs.delete(pair))
    this.#pairs.add(pair)
    pair.set(this.#faults)
  }
}

const ways = ['to-server', 'to-client'] as const
type Way = (typeof ways)[number]

function waysOf(direction: Direction = {}): readonly Way[] {
  knownOptions(wrong, '', direction, ['direction'])
  return direction.direction === undefined ? ways : [choiceOption(wrong, 'direction', direction.direction, ways)]
}

/** A client's connection and the one opened for it. The end of one by an error resets the other, unless nothing may pass in that direction. */
class Pair {
  readonly #client: Socket
  readonly #dial: () => Socket
  readonly #onGone: () => void
  #target: Socket | undefined
  #flows: Record<Way, ProxiedFlow> | undefined
  #faults: Readonly<Record<Way, Fault>> = { 'to-server': noFault, 'to-client': noFault }
  /** Which side has broken, and so which way the reset has to go. */
  readonly #broken = new Set<Way>()
  #over = false

  constructor(client: Socket, dial: () => Socket, onGone: () => void) {
    this.#client = client
    this.#dial = dial
    this.#onGone = onGone
    // Not read before the server is dialled.
    client.pause()
    this.#watch(client, 'to-server')
  }

  set(faults: Readonly<Record<Way, Fault>>): void {
    this.#faults = { ...faults }
    if (this.#over) return
    if (this.#target === undefined && !faults['to-server'].silent) this.#open()
    for (const way of ways) this.#flows?.[way].set(this.#faults[way])
    this.#passResets()
  }

  tear(way: Way, bytes: number): void {
    this.#flows?.[way].tearAfter(bytes)
  }

  reset(): void {
    if (this.#over) return
    this.#over = true
    for (const way of ways) this.#flows?.[way].stop()
    this.#client.resetAndDestroy()
    this.#target?.resetAndDestroy()
    this.#onGone()
  }

  #open(): void {
    const target = this.#dial()
    this.#target = target
    this.#watch(target, 'to-client')
    const torn = () => this.reset()
    this.#flows = { 'to-server': new ProxiedFlow(this.#client, target, torn), 'to-client': new ProxiedFlow(target, this.#client, torn) }
    this.#client.resume()
  }

  /** `way`: where the end of this socket is to be told. */
  #watch(socket: Socket, way: Way): void {
    socket.setNoDelay(true)
    socket.on('error', () => {
      this.#broken.add(way)
      this.#passResets()
    })
    socket.on('close', () => {
      if (this.#client.destroyed && (this.#target?.destroyed ?? true)) this.#gone()
    })
  }

  #passResets(): void {
    if ([...this.#broken].some((way) => !this.#faults[way].silent)) this.reset()
  }

  #gone(): void {
    if (this.#over) return
    this.#over = true
    for (const way of ways) this.#flows?.[way].stop()
    this.#onGone()
  }
}
