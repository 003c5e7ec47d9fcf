import { durationOption, knownOptions } from '@platform/kernel'
import type { Credential } from '../credential.ts'
import { refuseOption as refuse } from '../errors.ts'
import { appOf, idOf, type InstanceInfo, isSame, isUp, type Lease, toInfo, toInstance, type WrittenInfo } from '../eureka/instance-info.ts'
import { RegistryCopy } from '../eureka/registry-copy.ts'
import { refusal, Servers } from '../eureka/servers.ts'
import type { ReadResult, RegisteredInstance, Registrations, RegistryConnection, RegistryDriver } from '../registry.ts'

export interface EurekaOptions {
  /** Servers that tell each other everything, such as `http://10.0.0.5:8761/eureka`: one is asked, the next when it cannot answer. */
  urls: readonly string[]
  /** Value of the `Authorization` header, such as `Basic …`. */
  authorization?: Credential | undefined
  /** How often changes are asked for, at least 1000. Default 30,000: servers answer out of a cache of that age. */
  fetchIntervalMs?: number | undefined
  /** Whole seconds between two signs of life. Default 30,000; servers count on it to tell a broken network from dead instances. */
  renewalIntervalMs?: number | undefined
  /** Whole seconds after the last sign of life until a server takes an entry out; longer than `renewalIntervalMs`. Default 90,000. */
  leaseMs?: number | undefined
  /** Age of the cache that servers answer from (`responseCacheUpdateIntervalMs` there). Default 30,000. */
  serverCacheMs?: number | undefined
  /** Call instances by their IP address, not by the host name that they are registered with. Default false. */
  preferIpAddress?: boolean | undefined
  /** How long one server may take. Default 2000. */
  timeoutMs?: number | undefined
}

const known = [
  'urls',
  'authorization',
  'fetchIntervalMs',
  'renewalIntervalMs',
  'leaseMs',
  'serverCacheMs',
  'preferIpAddress',
  'timeoutMs',
] as const

interface Settings {
  readonly urls: readonly string[]
  readonly authorization: Credential | undefined
  readonly fetchIntervalMs: number
  readonly lease: Lease
  readonly serverCacheMs: number
  readonly preferIpAddress: boolean
  readonly timeoutMs: number
}

/** Netflix Eureka, and what speaks its REST API, such as Spring Cloud's server. */
export function eureka(options: EurekaOptions): RegistryDriver {
  knownOptions(refuse, 'eureka', options, known)
  const { urls, authorization, preferIpAddress = false } = options
  if (!Array.isArray(urls) || urls.length === 0) throw refuse('urls', 'must name one server at least')
  if (typeof preferIpAddress !== 'boolean') throw refuse('preferIpAddress', 'must be a boolean')
  const renewalIntervalMs = secondsOption('renewalIntervalMs', options.renewalIntervalMs ?? 30_000, 1000)
  const settings: Settings = {
    urls: urls.map(parseUrl),
    authorization,
    fetchIntervalMs: durationOption(refuse, 'fetchIntervalMs', options.fetchIntervalMs ?? 30_000, 1000),
    lease: { renewalIntervalMs, durationMs: secondsOption('leaseMs', options.leaseMs ?? 90_000, renewalIntervalMs + 1000) },
    serverCacheMs: durationOption(refuse, 'serverCacheMs', options.serverCacheMs ?? 30_000, 0),
    preferIpAddress,
    timeoutMs: durationOption(refuse, 'timeoutMs', options.timeoutMs ?? 2000, 1),
  }
  return { name: 'eureka', open: () => new EurekaConnection(settings) }
}

class EurekaConnection implements RegistryConnection {
  readonly readTimeoutMs: number
  readonly confirmMs: number
  readonly registrations: Registrations
  readonly #settings: Settings
  readonly #servers: Servers
  readonly #copy: RegistryCopy
  /** What was written last for each id. */
  readonly #written = new Map<string, { readonly path: string; readonly info: WrittenInfo }>()
  /** When what a server has of an id was made, by the clock of whoever wrote it: it takes nothing that is older. */
  readonly #found = new Map<string, number>()

  constructor(settings: Settings) {
    const { urls, timeoutMs, fetchIntervalMs, lease, serverCacheMs } = settings
    this.#settings = settings
    this.#servers = new Servers(settings)
    this.#copy = new RegistryCopy(this.#servers, fetchIntervalMs)
    // A round is a delta and then, perhaps, everything.
    this.readTimeoutMs = fetchIntervalMs + timeoutMs * urls.length * 2 + timeoutMs
    // After a restart each instance is back with its next sign of life, in the cache later still, and here with the next round.
    this.confirmMs = lease.renewalIntervalMs + serverCacheMs + fetchIntervalMs
    this.registrations = {
      confirmEveryMs: lease.renewalIntervalMs,
      put: (instance, { signal }) => this.#put(instance, signal),
      confirm: (instance, { signal }) => this.#confirm(instance, signal),
      remove: (id, { signal }) => this.#remove(id, signal),
    }
  }

  /** The cursor is the number of the round that told the set. */
  async read(service: string, { cursor, signal }: { cursor: string | undefined; signal: AbortSignal }): Promise<ReadResult> {
    const { applications, round } = await this.#copy.newer(cursor === undefined ? undefined : Number(cursor), signal)
    const entries = applications.entriesOf(service)
    return {
      instances: entries.filter(isUp).map((info) => toInstance(info, service, this.#settings.preferIpAddress)),
      outOfService: new Set(entries.filter((info) => !isUp(info)).map(idOf)),
      cursor: String(round),
    }
  }

  async close(): Promise<void> {
    this.#copy.close()
    await this.#servers.close()
  }

  async #put(instance: RegisteredInstance, signal: AbortSignal): Promise<void> {
    const { id, service } = instance
    const info = toInfo(instance, this.#settings.lease, Math.max(Date.now(), (this.#found.get(id) ?? 0) + 1))
    this.#written.set(id, { path: entryPath(instance), info })
    const json = { instance: info }
    const answer = await this.#servers.ask({ method: 'POST', path: `/apps/${encodeURIComponent(appOf(service))}`, json, service, signal })
    if (answer.status !== 204 && answer.status !== 200) throw refusal(answer, service)
  }

  async #confirm(instance: RegisteredInstance, signal: AbortSignal): Promise<boolean> {
    const { id, service } = instance
    const written = this.#written.get(id)
    if (written === undefined) return false
    const { path, info } = written
    const found = await this.#servers.ask({ method: 'GET', path, service, signal })
    if (found.status === 404) return false
    if (found.status !== 200) throw refusal(found, service)
    const { instance: entry } = JSON.parse(found.body) as { instance?: InstanceInfo | null }
    if (!isSame(entry ?? {}, info)) {
      this.#found.set(id, Number(entry?.lastDirtyTimestamp ?? 0))
      return false
    }
    // A server that knows an older entry answers 404 as well.
    const query = `status=UP&lastDirtyTimestamp=${info.lastDirtyTimestamp}`
    const renewed = await this.#servers.ask({ method: 'PUT', path: `${path}?${query}`, service, signal })
    if (renewed.status !== 200 && renewed.status !== 404) throw refusal(renewed, service)
    return renewed.status === 200
  }

  async #remove(id: string, signal: AbortSignal): Promise<void> {
    const written = this.#written.get(id)
    if (written === undefined) return
    const answer = await this.#servers.ask({ method: 'DELETE', path: written.path, service: id, signal })
    if (answer.status !== 200 && answer.status !== 404) throw refusal(answer, id)
    this.#written.delete(id)
    this.#found.delete(id)
  }
}

function entryPath({ id, service }: RegisteredInstance): string {
  return `/apps/${encodeURIComponent(appOf(service))}/${encodeURIComponent(id)}`
}

function secondsOption(option: string, value: unknown, min: number): number {
  const ms = durationOption(refuse, option, value, min)
  if (ms % 1000 !== 0) throw refuse(option, 'must be whole seconds')
  return ms
}

function parseUrl(text: unknown): string {
  const url = typeof text === 'string' && URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol) || url.search + url.hash !== '')
    throw refuse('urls', 'must be URLs such as http://10.0.0.5:8761/eureka')
  // It would stand in every error and every log.
  if (url.username + url.password !== '') throw refuse('urls', 'must be without a password: it belongs into `authorization`')
  return url.href.replace(/\/$/, '')
}
