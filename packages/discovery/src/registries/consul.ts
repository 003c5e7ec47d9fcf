import { durationOption, integerOption, knownOptions } from '@platform/kernel'
import { Pool } from 'undici'
import { type Credential, revealCredential } from '../credential.ts'
import { DiscoveryError, refuseOption as refuse } from '../errors.ts'
import { baseUrl, type Instance, type RegisteredInstance, type RegistryConnection, type RegistryDriver } from '../registry.ts'

export interface ConsulOptions {
  /** HTTP API of the agent on this host, such as `http://127.0.0.1:8500`. */
  url: string
  token?: Credential | undefined
  /** How long one watch request waits for a change, up to 600,000. Default 55,000. */
  waitMs?: number | undefined
  /**
   * Connections that watches may hold at once; more watches than that take turns. An agent allows 200 for all processes of one host together.
   * Default 50.
   */
  watchConnections?: number | undefined
  /** Only instances with this tag. */
  tag?: string | undefined
  /** Default: the agent's own. */
  datacentre?: string | undefined
  /** Expression of Consul's filter language, such as `Service.Meta.version == "2"`. */
  filter?: string | undefined
}

/** Time that an answer may take beyond what the agent was asked to wait, to which it adds a sixteenth itself. */
const ANSWER_MS = 5000
/** How long a watch waits while more watches than connections take turns. */
const TURN_MS = 5000
/** For what must not wait behind watches: registrations, signs of life and first reads. */
const PROMPT_CONNECTIONS = 4
/** Longer than the longest pause between two signs of life, so that they keep their connection. */
const KEEP_ALIVE_MS = 60_000
/** After so long without a sign of life Consul removes the entry. Its own floor is one minute. */
const DEREGISTER_AFTER = '10m'

export function consul(options: ConsulOptions): RegistryDriver {
  knownOptions(refuse, 'consul', options, ['url', 'token', 'waitMs', 'watchConnections', 'tag', 'datacentre', 'filter'])
  if (!URL.canParse(options.url)) throw refuse('url', 'must be a URL')
  const waitMs = durationOption(refuse, 'waitMs', options.waitMs ?? 55_000, 1000, 600_000)
  const watchConnections = integerOption(refuse, 'watchConnections', options.watchConnections ?? 50, 1)
  const query: Record<string, string> = {}
  for (const [name, parameter] of selectors) {
    const value = options[name]
    if (value === undefined) continue
    if (typeof value !== 'string' || value === '') throw refuse(name, 'must be a non-empty string')
    query[parameter] = value
  }
  const settings = { url: new URL(options.url), token: options.token, waitMs, watchConnections, query }
  return { name: 'consul', open: () => new ConsulConnection(settings) }
}

const selectors = [
  ['tag', 'tag'],
  ['datacentre', 'dc'],
  ['filter', 'filter'],
] as const

interface Settings {
  readonly url: URL
  readonly token: Credential | undefined
  readonly waitMs: number
  readonly watchConnections: number
  readonly query: Readonly<Record<string, string>>
}

/** As the agent says it; the core checks what comes out of it. */
interface HealthEntry {
  readonly Node?: { readonly Address: string }
  readonly Service?: {
    readonly ID: string
    readonly Service: string
    readonly Address: string
    readonly Port: number
    readonly Meta?: Readonly<Record<string, string>> | null
    readonly Weights?: { readonly Passing: number } | null
  }
}

class ConsulConnection implements RegistryConnection {
  readonly readTimeoutMs: number
  readonly registrations = {
    put: (instance: RegisteredInstance, options: { signal: AbortSignal }) => this.#put(instance, options.signal),
    confirm: (instance: RegisteredInstance, options: { signal: AbortSignal }) => this.#confirm(instance, options.signal),
    remove: (id: string, options: { signal: AbortSignal }) => this.#remove(id, options.signal),
    signOfLife: async ({ id }: RegisteredInstance) => ({
      url: this.#settings.url.origin + this.#pathPrefix + passPath(id),
      method: 'PUT',
      headers: await this.#headers(),
    }),
  }
  readonly #settings: Settings
  readonly #pathPrefix: string
  readonly #prompt: Pool
  readonly #watches: Pool
  #watching = 0

  constructor(settings: Settings) {
    const { url, waitMs, watchConnections } = settings
    this.#settings = settings
    this.readTimeoutMs = waitMs + waitMs / 16 + ANSWER_MS + TURN_MS * 2
    this.#pathPrefix = url.pathname.replace(/\/$/, '')
    // The core decides how long a request may take; undici's own limits would cut a long wait.
    const limits = { headersTimeout: 0, bodyTimeout: ANSWER_MS, connectTimeout: ANSWER_MS }
    this.#prompt = new Pool(url.origin, { ...limits, connections: PROMPT_CONNECTIONS, keepAliveTimeout: KEEP_ALIVE_MS })
    this.#watches = new Pool(url.origin, { ...limits, connections: watchConnections })
  }

  async read(service: string, { cursor, signal }: { cursor: string | undefined; signal: AbortSignal }) {
    this.#watching++
    try {
      return await this.#read(service, cursor, signal)
    } finally {
      this.#watching--
    }
  }

  async #read(service: string, cursor: string | undefined, signal: AbortSignal) {
    const { waitMs, watchConnections, query } = this.#settings
    const shared = this.#watching > watchConnections * 0.8
    const wait = shared ? Math.min(waitMs, TURN_MS) : waitMs
    const parameters = new URLSearchParams({ ...query, ...(cursor === undefined ? {} : { index: cursor, wait: `${wait}ms` }) })
    const more = parameters.size === 0 ? '' : `&${parameters.toString()}`
    const path = `/v1/health/service/${encodeURIComponent(service)}?passing&stale${more}`
    const { status, body, headers } = await this.#ask('GET', path, signal, cursor === undefined ? this.#prompt : this.#watches)
    if (status !== 200) throw this.#refusal(status, body, service)
    // 64 bits: a number would round it. One that is missing, below 1 or lower than before would make the next request spin or wait for the past.
    const said = headers['x-consul-index']
    const index = typeof said === 'string' && /^\d{1,20}$/.test(said) ? BigInt(said) : 0n
    const backwards = cursor !== undefined && index < BigInt(cursor)
    const next = index >= 1n && !backwards ? String(index) : '1'
    return { instances: (JSON.parse(body) as (HealthEntry | null)[]).map(toInstance), cursor: next }
  }

  async close(): Promise<void> {
    await Promise.all([this.#prompt.destroy(), this.#watches.destroy()])
  }

  async #put(instance: RegisteredInstance, signal: AbortSignal): Promise<void> {
    const { check } = instance
    const entry = {
      ...toEntry(instance),
      Check:
        'ttlMs' in check
          ? { TTL: `${check.ttlMs}ms`, Status: 'passing', DeregisterCriticalServiceAfter: DEREGISTER_AFTER }
          : {
              HTTP: check.http.startsWith('/') ? baseUrl(instance) + check.http : check.http,
              Interval: `${check.intervalMs}ms`,
              Timeout: `${check.intervalMs}ms`,
              DeregisterCriticalServiceAfter: DEREGISTER_AFTER,
            },
    }
    const { status, body } = await this.#ask('PUT', '/v1/agent/service/register?replace-existing-checks=true', signal, this.#prompt, entry)
    if (status !== 200) throw this.#refusal(status, body, instance.service)
  }

  async #confirm(instance: RegisteredInstance, signal: AbortSignal): Promise<boolean> {
    const id = encodeURIComponent(instance.id)
    const found = await this.#ask('GET', `/v1/agent/service/${id}`, signal, this.#prompt)
    if (found.status === 404) return false
    if (found.status !== 200) throw this.#refusal(found.status, found.body, instance.service)
    if (!sameEntry(JSON.parse(found.body) as Record<string, unknown>, toEntry(instance))) return false
    if (!('ttlMs' in instance.check)) return true
    // Old agents answer 500, newer ones 404, when the check is gone though the service is there.
    const { status } = await this.#ask('PUT', passPath(instance.id), signal, this.#prompt)
    return status === 200
  }

  async #remove(id: string, signal: AbortSignal): Promise<void> {
    const { status, body } = await this.#ask('PUT', `/v1/agent/service/deregister/${encodeURIComponent(id)}`, signal, this.#prompt)
    if (status !== 200 && status !== 404 && !body.includes('Unknown service')) throw this.#refusal(status, body, id)
  }

  async #headers(): Promise<Record<string, string>> {
    const { token } = this.#settings
    return token === undefined ? {} : { 'x-consul-token': await revealCredential(token) }
  }

  async #ask(method: 'GET' | 'PUT', path: string, signal: AbortSignal, pool: Pool, json?: unknown) {
    const headers = await this.#headers()
    if (json !== undefined) headers['content-type'] = 'application/json'
    const body = json === undefined ? null : JSON.stringify(json)
    const answer = await pool.request({ method, path: this.#pathPrefix + path, headers, body, signal })
    return { status: answer.statusCode, headers: answer.headers, body: await answer.body.text() }
  }

  #refusal(status: number, body: string, service: string): DiscoveryError {
    const final = status >= 400 && status < 500 && status !== 408 && status !== 429
    const code = final ? 'ERR_DISCOVERY_REFUSED' : 'ERR_DISCOVERY_UNAVAILABLE'
    return new DiscoveryError(code, `consul answered ${status}: ${body.slice(0, 200)}`, { service, status })
  }
}

function passPath(id: string): string {
  return `/v1/agent/check/pass/service:${encodeURIComponent(id)}`
}

function toInstance(entry: HealthEntry | null): Instance {
  const { ID, Service, Address, Port, Meta, Weights } = entry?.Service ?? ({} as Partial<NonNullable<HealthEntry['Service']>>)
  return {
    id: ID!,
    service: Service!,
    address: (Address || entry?.Node?.Address)!,
    port: Port!,
    ...(Weights && Weights.Passing > 1 ? { weight: Weights.Passing } : {}),
    ...(Meta && Object.keys(Meta).length > 0 ? { meta: Meta } : {}),
  }
}

function toEntry(instance: Instance) {
  return {
    ID: instance.id,
    Name: instance.service,
    Address: instance.address,
    Port: instance.port,
    Meta: instance.meta ?? {},
    Weights: { Passing: instance.weight ?? 1, Warning: 1 },
  }
}

function sameEntry(found: Record<string, unknown>, wanted: ReturnType<typeof toEntry>): boolean {
  const shape = (name: unknown, entry: Record<string, unknown>) => {
    const meta = Object.entries((entry['Meta'] ?? {}) as Record<string, string>).sort(([a], [b]) => (a < b ? -1 : 1))
    return JSON.stringify([name, entry['Address'], entry['Port'], meta, (entry['Weights'] as { Passing?: number } | undefined)?.Passing])
  }
  return shape(found['Service'], found) === shape(wanted.Name, wanted)
}
