import { connect, createServer, type Server, type Socket } from 'node:net'
import { StackError } from './errors.ts'
import { ProxiedFlow } from './proxied-flow.ts'
import { freePort } from './ports.ts'

/** A TCP proxy on loopback that misbehaves when told to. */
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
  /** Keeps connections, accepts new ones, forwards nothing; what is sent meanwhile arrives after `restore()`. */
  silence(): void
  /** Holds every piece of data back, in each direction; 0 to 600,000. */
  delay(ms: number): void
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

/** `target`: a `postgres://`, `redis://`, `amqp://` or `http://` URL, or `host:port`. */
export async function faultProxy(target: string): Promise<FaultProxy> {
  const { host, port } = readTarget(target)
  const proxy = new TcpFaultProxy(host, port, target, await freePort())
  await proxy.listen()
  return proxy
}

function readTarget(target: string): { host: string; port: number } {
  const plain = /^([\w.-]+):(\d+)$/.exec(target)
  if (plain) return { host: plain[1] as string, port: Number(plain[2]) }
  const url = URL.canParse(target) ? new URL(target) : undefined
  const port = url && (Number(url.port) || defaultPorts[url.protocol])
  if (!url || !port || url.hostname === '')
    throw new StackError('ERR_STACK_OPTION', 'option target must be a URL or host:port', { option: 'target' })
  return { host: url.hostname, port }
}

function withAddress(target: string, address: string): string {
  if (!target.includes('://')) return address
  const [, before, path] = /^(\w+:\/\/(?:[^/?#]*@)?)[^/?#]*(.*)$/.exec(target) as unknown as [string, string, string]
  return `${before}${address}${path}`
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
  #silent = false
  #delayMs = 0
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

  silence(): void {
    this.#silent = true
    this.#update()
  }

  delay(ms: number): void {
    if (!(ms >= 0 && ms <= 600_000)) throw new StackError('ERR_STACK_OPTION', 'option ms must be from 0 to 600000', { option: 'ms' })
    this.#delayMs = ms
    this.#update()
  }

  restore(): void {
    this.#silent = false
    this.#delayMs = 0
    this.#update()
    if (this.#listener || this.#closing) return
    // Nobody should have taken the port meanwhile; if somebody did, it is tried again until it is free.
    const again = () => {
      if (this.#closing) return
      this.#relisten = setTimeout(() => void this.listen().catch(again), relistenMs).unref()
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

  #update(): void {
    for (const pair of this.#pairs) pair.set(this.#silent, this.#delayMs)
  }

  #accept(client: Socket): void {
    this.accepted++
    const target = connect({ host: this.#targetHost, port: this.#targetPort, allowHalfOpen: true })
    const pair = new Pair(client, target, () => this.#pairs.delete(pair))
    this.#pairs.add(pair)
    pair.set(this.#silent, this.#delayMs)
  }
}

/** A client's connection and the one opened for it; an error of either resets both. */
class Pair {
  readonly #client: Socket
  readonly #target: Socket
  readonly #flows: ProxiedFlow[]
  #open = 2

  constructor(client: Socket, target: Socket, onGone: () => void) {
    this.#client = client
    this.#target = target
    this.#flows = [new ProxiedFlow(client, target), new ProxiedFlow(target, client)]
    for (const socket of [client, target]) {
      socket.setNoDelay(true)
      socket.on('error', () => this.reset())
      socket.on('close', (hadError) => {
        if (hadError) this.reset()
        this.#open--
        if (this.#open === 0) onGone()
      })
    }
  }

  set(silent: boolean, delayMs: number): void {
    for (const flow of this.#flows) flow.set(silent, delayMs)
  }

  reset(): void {
    for (const flow of this.#flows) flow.stop()
    this.#client.resetAndDestroy()
    this.#target.resetAndDestroy()
  }
}
