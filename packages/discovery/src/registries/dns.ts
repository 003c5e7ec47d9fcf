import { getServers } from 'node:dns'
import { isIP } from 'node:net'
import { backgroundPause, durationOption, functionOption, integerOption, knownOptions, withDeadline } from '@platform/kernel'
import type { Answer, AnswerRecord, SrvTarget } from '../dns/answer.ts'
import { TYPE } from '../dns/message.ts'
import { isDomainName } from '../dns/name.ts'
import { askAll, type NameServer } from '../dns/tcp-client.ts'
import { DiscoveryError, refuseOption as refuse } from '../errors.ts'
import type { Instance, ReadResult, RegistryConnection, RegistryDriver } from '../registry.ts'

export interface DnsOptions {
  /** The name that is asked for a service, such as `(service) => `${service}.service.consul``. */
  nameOf(service: string): string
  /** Of all instances, which are then the addresses (A, else AAAA) of the name. Default: SRV records tell each one's. */
  port?: number | undefined
  /** Name servers, such as `127.0.0.1:8600`, asked in their order. Default: those of the system. */
  servers?: readonly string[] | undefined
  /** Answers that may be kept for less are kept for so long, at least 1000. Default 1000. */
  minTtlMs?: number | undefined
  /** How long one server may take for a service and the addresses of its instances. Default 5000. */
  timeoutMs?: number | undefined
}

const DNS_PORT = 53
/** Answers are asked for anew after so long, whatever their TTL. */
const LONGEST_TTL_MS = 60_000
/** Many processes that started together do not ask together: up to this part later. */
const JITTER = 0.1

/** Service discovery by DNS, over TCP. Nothing is registered. */
export function dns(options: DnsOptions): RegistryDriver {
  knownOptions(refuse, 'dns', options, ['nameOf', 'port', 'servers', 'minTtlMs', 'timeoutMs'])
  if (functionOption(refuse, 'nameOf', options.nameOf) === undefined) throw refuse('nameOf', 'must be a function')
  const settings = {
    nameOf: options.nameOf,
    port: options.port === undefined ? undefined : integerOption(refuse, 'port', options.port, 1, 65_535),
    servers: options.servers?.map(parseServer),
    minTtlMs: durationOption(refuse, 'minTtlMs', options.minTtlMs ?? 1000, 1000),
    timeoutMs: durationOption(refuse, 'timeoutMs', options.timeoutMs ?? 5000, 1),
  }
  if (settings.servers?.length === 0) throw refuse('servers', 'must name one server at least')
  return { name: 'dns', open: () => new DnsConnection({ ...settings, servers: settings.servers ?? getServers().map(parseServer) }) }
}

interface Settings {
  nameOf(service: string): string
  readonly port: number | undefined
  readonly servers: readonly NameServer[]
  readonly minTtlMs: number
  readonly timeoutMs: number
}

interface Addresses {
  readonly list: readonly string[]
  /** On the monotonic clock. */
  readonly until: number
}

interface Found {
  readonly instances: readonly Instance[]
  readonly ttlMs: number
}

class DnsConnection implements RegistryConnection {
  readonly readTimeoutMs: number
  readonly #settings: Settings
  /** Of each service's SRV targets, as they were told last. */
  readonly #targets = new Map<string, ReadonlyMap<string, Addresses>>()

  constructor(settings: Settings) {
    const { minTtlMs, timeoutMs, servers } = settings
    this.#settings = settings
    this.readTimeoutMs = Math.max(minTtlMs, LONGEST_TTL_MS) * (1 + JITTER) + timeoutMs * (servers.length + 1)
  }

  /** The cursor is the time from which on it is worth asking again. */
  async read(service: string, { cursor, signal }: { cursor: string | undefined; signal: AbortSignal }): Promise<ReadResult> {
    if (cursor !== undefined) await backgroundPause(Math.max(0, Number(cursor) - performance.now()), signal)
    signal.throwIfAborted()
    const { minTtlMs } = this.#settings
    const { instances, ttlMs } = await this.#ask(service, signal)
    const waitMs = Math.max(minTtlMs, Math.min(LONGEST_TTL_MS, ttlMs)) * (1 + Math.random() * JITTER)
    return { instances, cursor: String(performance.now() + waitMs) }
  }

  async close(): Promise<void> {
    this.#targets.clear()
  }

  async #ask(service: string, signal: AbortSignal): Promise<Found> {
    const { nameOf, servers, timeoutMs, port } = this.#settings
    const name = nameOf(service).replace(/\.$/, '')
    if (!isDomainName(name)) throw refuse('nameOf', 'must give a domain name')
    let failure: unknown
    for (const server of servers) {
      try {
        const late = (): Error => new Error(`${server.host}:${server.port} did not answer within ${timeoutMs} ms`)
        return await withDeadline(
          timeoutMs,
          late,
          (limit) => (port === undefined ? this.#bySrv(service, name, server, limit) : this.#byAddress(service, name, port, server, limit)),
          signal,
        )
      } catch (error) {
        signal.throwIfAborted()
        failure = error
      }
    }
    throw new DiscoveryError('ERR_DISCOVERY_UNAVAILABLE', `no name server answers for ${name}`, { service, cause: failure })
  }

  async #byAddress(service: string, name: string, port: number, server: NameServer, signal: AbortSignal): Promise<Found> {
    const found = (await addressesOf(server, [name], signal)).get(name)
    if (found === undefined) throw unsure(server, name)
    const instances = found.list.map((address) => ({ id: `${address}:${port}`, service, address, port }))
    return { instances, ttlMs: found.until - performance.now() }
  }

  async #bySrv(service: string, name: string, server: NameServer, signal: AbortSignal): Promise<Found> {
    const until = performance.now() + this.#settings.timeoutMs
    const [answer] = await askAll(server, [{ name, type: TYPE.SRV }], signal)
    if (answer?.isSure !== true) throw unsure(server, name)
    const all = answer.records.flatMap(({ srv }) => (srv === undefined || srv.target === '' ? [] : [srv]))
    const targets = new Map<string, Addresses>()
    let instances: Instance[] = []
    // The lowest priority; the next one when no target of that has an address.
    const priorities = [...new Set(all.map((srv) => srv.priority))].sort((a, b) => a - b)
    for (const priority of priorities) {
      // The names of instances get half of the time that is left: one that hangs at the server leaves the others.
      const limit = AbortSignal.any([signal, AbortSignal.timeout(Math.max(1, Math.ceil((until - performance.now()) / 2)))])
      const records = all.filter((srv) => srv.priority === priority)
      const names = [...new Set(records.map(({ target }) => target))]
      for (const [name, addresses] of await this.#addresses(service, names, answer, server, limit)) targets.set(name, addresses)
      instances = records.flatMap((srv) => (targets.get(srv.target)?.list ?? []).map((address) => toInstance(service, srv, address)))
      if (instances.length > 0) break
    }
    const untold = all.find(({ target }) => !targets.has(target))
    if (instances.length === 0 && untold !== undefined) throw unsure(server, untold.target)
    this.#targets.set(service, targets)
    return {
      instances,
      ttlMs: Math.min(shortestMs(answer.records), ...[...targets.values()].map(({ until }) => until - performance.now())),
    }
  }

  /** A target that nobody can tell of now has the addresses that it had; one that never had any is left out. */
  async #addresses(
    service: string,
    targets: readonly string[],
    { additional }: Answer,
    server: NameServer,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, Addresses>> {
    const now = performance.now()
    const before = this.#targets.get(service)
    const known = new Map<string, Addresses>()
    for (const target of targets) {
      const told = additional.filter(({ owner, address }) => owner === target && address !== undefined)
      const kept = before?.get(target)
      if (told.length > 0) known.set(target, toAddresses(told))
      else if (kept !== undefined && kept.until > now) known.set(target, kept)
    }
    const open = targets.filter((target) => !known.has(target))
    const found = await addressesOf(server, open, signal)
    for (const target of open) {
      const addresses = found.get(target) ?? before?.get(target)
      if (addresses !== undefined) known.set(target, addresses)
    }
    return known
  }
}

function toInstance(service: string, { port, weight }: SrvTarget, address: string): Instance {
  return { id: `${address}:${port}`, service, address, port, ...(weight > 1 ? { weight } : {}) }
}

/** A, and AAAA of those that have no A. A name is missing in the result when the server could not say. */
async function addressesOf(server: NameServer, names: readonly string[], signal: AbortSignal): Promise<Map<string, Addresses>> {
  const found = new Map<string, Addresses>()
  const ask = async (type: number, asked: readonly string[]): Promise<void> => {
    const answers = await askAll(
      server,
      asked.map((name) => ({ name, type })),
      signal,
    )
    for (const [index, name] of asked.entries()) {
      const answer = answers[index]
      if (answer?.isSure === true) found.set(name, toAddresses(answer.records))
      else found.delete(name)
    }
  }
  await ask(TYPE.A, names)
  await ask(
    TYPE.AAAA,
    names.filter((name) => found.get(name)?.list.length === 0),
  )
  return found
}

function toAddresses(records: readonly AnswerRecord[]): Addresses {
  const list = [...new Set(records.flatMap(({ address }) => address ?? []))]
  return { list, until: performance.now() + shortestMs(records) }
}

/** That there is none is asked again as soon as one may. */
function shortestMs(records: readonly AnswerRecord[]): number {
  return records.length === 0 ? 0 : Math.min(...records.map(({ ttlSeconds }) => ttlSeconds * 1000))
}

function unsure({ host, port }: NameServer, name: string): Error {
  return new Error(`${host}:${port} could not say what ${name} is`)
}

function parseServer(server: string): NameServer {
  const url = URL.canParse(`dns://${server}`) ? new URL(`dns://${server}`) : undefined
  // Without brackets, as the system writes it, an IPv6 address is no URL.
  const host = isIP(server) === 6 ? server : (url?.hostname.replace(/^\[|\]$/g, '') ?? '')
  if (isIP(host) === 0 || (url !== undefined && url.username + url.pathname + url.search !== ''))
    throw refuse('servers', 'must be IP addresses, with a port if it is not 53, such as 127.0.0.1:8600')
  return { host, port: Number(isIP(server) === 6 ? '' : url?.port) || DNS_PORT }
}
