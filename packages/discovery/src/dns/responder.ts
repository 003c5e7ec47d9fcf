import { type RemoteInfo, type Socket as UdpSocket, createSocket } from 'node:dgram'
import { createServer, isIP, isIPv6, type Server, type Socket } from 'node:net'
import { backgroundTimeout, durationOption, guarded, integerOption, knownOptions, orAborted, safeLogger } from '@platform/kernel'
import type { Discovery } from '../discovery.ts'
import { DiscoveryError, refuseOption as refuse } from '../errors.ts'
import { instruments } from '../instrumentation.ts'
import type { LoggerLike } from '../logger-like.ts'
import { decodeQuery, encodeReply, LARGEST_TCP, type Query, type Reply, reply } from './message.ts'
import { isDomainName } from './name.ts'
import { ServiceZone } from './service-zone.ts'
import { tcpMessage, tcpMessages } from './tcp-messages.ts'

export interface DnsResponderOptions {
  discovery: Pick<Discovery, 'watch'>
  /** Who is answered for. A name of letters, digits, `-`, `_` and dots. */
  services: readonly string[]
  /** What the names end with. Default `platform.internal`. */
  domain?: string | undefined
  /** Address to listen on, UDP and TCP. Default `127.0.0.1`. */
  host?: string | undefined
  /** Default 0: any that is free. */
  port?: number | undefined
  /** How long an answer about a service may be kept, in whole seconds. Default 0. */
  ttlMs?: number | undefined
  /** What stands for a service without instances, such as a listener that says 503. Default: an answer without records. */
  sentinel?: { readonly address: string; readonly port: number } | undefined
  logger?: LoggerLike | undefined
}

export interface DnsResponder {
  /** Such as `127.0.0.1:8053`; undefined until it listens. */
  readonly address: string | undefined
  /** Resolves when it listens; rejects with ERR_DISCOVERY_LISTEN. */
  ready(options?: { signal?: AbortSignal | undefined }): Promise<void>
  /** Replaces the list of services. */
  update(options: { services: readonly string[] }): void
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const LONGEST_QUERY = 4096
const MOST_CONNECTIONS = 256
/** A connection that brings no whole question, or does not take its answer, for so long is cut. */
const IDLE_MS = 10_000
/** Tries to get the same port for UDP and TCP when any will do. */
const PORT_ATTEMPTS = 10

export function createDnsResponder(options: DnsResponderOptions): DnsResponder {
  knownOptions(refuse, '', options, ['discovery', 'services', 'domain', 'host', 'port', 'ttlMs', 'sentinel', 'logger'])
  return new WatchedResponder(options)
}

class WatchedResponder implements DnsResponder {
  readonly #discovery: Pick<Discovery, 'watch'>
  readonly #logger: LoggerLike | undefined
  readonly #domain: string
  readonly #host: string
  readonly #port: number
  readonly #zone: ServiceZone
  readonly #watches = new Map<string, () => void>()
  readonly #connections = new Set<Socket>()
  #services: readonly string[]
  #listening: Promise<{ udp: UdpSocket; tcp: Server; port: number }> | undefined
  #address: string | undefined
  #closing: Promise<void> | undefined

  constructor(options: DnsResponderOptions) {
    const { discovery, services, domain = 'platform.internal', host = '127.0.0.1', port = 0, ttlMs = 0, sentinel } = options
    if (typeof discovery?.watch !== 'function') throw refuse('discovery', 'must be what createDiscovery gives')
    if (typeof domain !== 'string' || !isDomainName(domain)) throw refuse('domain', 'must be a domain name without a dot at its end')
    if (isIP(host) === 0) throw refuse('host', 'must be an IP address')
    if (sentinel !== undefined) {
      knownOptions(refuse, 'sentinel', sentinel, ['address', 'port'])
      if (isIP(sentinel.address) === 0) throw refuse('sentinel.address', 'must be an IP address')
      integerOption(refuse, 'sentinel.port', sentinel.port, 1, 65_535)
    }
    this.#discovery = discovery
    this.#logger = safeLogger(options.logger)
    this.#domain = domain.toLowerCase()
    this.#host = host
    this.#port = integerOption(refuse, 'port', port, 0, 65_535)
    this.#services = this.#checked(services)
    this.#zone = new ServiceZone({
      domain: this.#domain,
      ttlSeconds: Math.floor(durationOption(refuse, 'ttlMs', ttlMs, 0) / 1000),
      sentinel,
      onLeftOut: (service, instances) => this.#logger?.warn({ service, instances }, 'instances left out of the DNS answer'),
    })
  }

  get address(): string | undefined {
    return this.#address
  }

  async ready({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    if (this.#closing !== undefined) throw new DiscoveryError('ERR_DISCOVERY_CLOSED', 'the responder is closed')
    this.#follow()
    this.#listening ??= this.#listen()
    await orAborted(this.#listening, signal)
  }

  update({ services }: { services: readonly string[] }): void {
    this.#services = this.#checked(services)
    if (this.#listening !== undefined && this.#closing === undefined) this.#follow()
  }

  close(): Promise<void> {
    this.#closing ??= (async () => {
      for (const unwatch of this.#watches.values()) unwatch()
      const sockets = await this.#listening?.catch(() => undefined)
      this.#address = undefined
      for (const connection of this.#connections) connection.destroy()
      if (sockets !== undefined) await Promise.all([closed(sockets.udp), closed(sockets.tcp)])
    })()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #checked(services: readonly string[]): readonly string[] {
    const isService = (name: unknown): boolean => typeof name === 'string' && isDomainName(`_http._tcp.${name}.${this.#domain}`)
    if (!Array.isArray(services) || !services.every(isService))
      throw refuse('services', 'must be a list of names of letters, digits, hyphens, underscores and dots that fit into a domain name')
    const distinct = new Set(services)
    if (new Set([...distinct].map((name) => name.toLowerCase())).size < distinct.size)
      throw refuse('services', 'must not differ in upper and lower case only: DNS does not')
    return [...distinct]
  }

  #follow(): void {
    for (const [service, unwatch] of this.#watches) {
      if (this.#services.includes(service)) continue
      unwatch()
      this.#watches.delete(service)
      this.#zone.remove(service)
    }
    for (const service of this.#services) {
      if (this.#watches.has(service)) continue
      this.#zone.add(service)
      this.#watches.set(
        service,
        this.#discovery.watch(service, (instances) => this.#zone.update(service, instances)),
      )
    }
  }

  async #listen() {
    try {
      const sockets = await listenOn(this.#host, this.#port)
      const { udp, tcp, port } = sockets
      udp.on('message', (message, from) => void this.#overUdp(udp, message, from))
      tcp.on('connection', (socket) => void this.#overTcp(socket))
      const failed = (err: unknown): void => this.#logger?.error({ err }, 'a socket of the DNS responder failed')
      udp.on('error', failed)
      tcp.on('error', failed)
      this.#address = `${isIPv6(this.#host) ? `[${this.#host}]` : this.#host}:${port}`
      return sockets
    } catch (cause) {
      this.#listening = undefined
      throw new DiscoveryError('ERR_DISCOVERY_LISTEN', `cannot listen on ${this.#host} port ${this.#port}, UDP and TCP`, { cause })
    }
  }

  async #overUdp(udp: UdpSocket, message: Buffer, from: RemoteInfo): Promise<void> {
    const query = decodeQuery(message)
    if (query === undefined) return
    const answer = encodeReply(query, await this.#answer(query, 'udp'), query.udpBytes)
    // Whoever forged a sender that cannot be reached gets no answer; after `close` nobody does.
    guarded(() => udp.send(answer, from.port, from.address, () => {}))
  }

  async #overTcp(socket: Socket): Promise<void> {
    this.#connections.add(socket)
    const idle = backgroundTimeout(() => socket.destroy(), IDLE_MS)
    socket.on('error', () => {}).on('close', () => clearTimeout(idle))
    try {
      for await (const message of tcpMessages(socket, LONGEST_QUERY)) {
        const query = decodeQuery(message)
        if (query === undefined) break
        const answer = encodeReply(query, await this.#answer(query, 'tcp'), LARGEST_TCP)
        await new Promise<void>((resolve, reject) => socket.write(tcpMessage(answer), (error) => (error ? reject(error) : resolve())))
        idle.refresh()
      }
    } catch {
      // The asker has gone.
    } finally {
      this.#connections.delete(socket)
      socket.destroy()
    }
  }

  async #answer(query: Query, transport: 'udp' | 'tcp'): Promise<Reply> {
    const answer = query.wrong === undefined ? await this.#zone.answer(query.name, query.type) : reply(query.wrong)
    instruments().dnsAnswers.add(1, { code: answer.code, transport })
    return answer
  }
}

/** The same port for both; if any will do, until there is one that is free for both. */
async function listenOn(host: string, wanted: number): Promise<{ udp: UdpSocket; tcp: Server; port: number }> {
  for (let attempt = 1; ; attempt++) {
    const udp = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4' })
    try {
      const port = await bound(udp, () => udp.bind(wanted, host))
      const tcp = createServer()
      tcp.maxConnections = MOST_CONNECTIONS
      await bound(tcp, () => tcp.listen(port, host))
      return { udp, tcp, port }
    } catch (error) {
      await closed(udp)
      if (wanted !== 0 || attempt === PORT_ATTEMPTS || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    }
  }
}

function bound(socket: UdpSocket | Server, bind: () => void): Promise<number> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject).once('listening', () => {
      socket.off('error', reject)
      resolve((socket.address() as { port: number }).port)
    })
    bind()
  })
}

function closed(socket: UdpSocket | Server): Promise<void> {
  return new Promise((resolve) => void socket.close(() => resolve()))
}
