import { Pool } from 'undici'
import { type Credential, revealCredential } from '../credential.ts'
import { DiscoveryError } from '../errors.ts'
import { durationOption, onlyKnown } from '../option-checks.ts'
import { baseUrl, type Instance, type RegisteredInstance, type RegistryConnection, type RegistryDriver } from '../registry.ts'

export interface ConsulOptions {
  /** HTTP API of the agent on this host, such as `http://127.0.0.1:8500`. */
  url: string
  token?: Credential | undefined
  /** How long one watch request waits for a change, up to 600,000. Default 55,000. */
  waitMs?: number | undefined
}

/** Time that an answer may take beyond what the agent was asked to wait, to which it adds a sixteenth itself. */
const ANSWER_MS = 5000
/** After so long without a sign of life Consul removes the entry. Its own floor is one minute. */
const DEREGISTER_AFTER = '10m'

export function consul(options: ConsulOptions): RegistryDriver {
  onlyKnown('consul', options, ['url', 'token', 'waitMs'])
  if (!URL.canParse(options.url)) throw new DiscoveryError('ERR_DISCOVERY_INVALID_OPTION', 'url must be a URL', { option: 'url' })
  const waitMs = durationOption('waitMs', options.waitMs ?? 55_000, 1000, 600_000)
  return { name: 'consul', open: () => new ConsulConnection(new URL(options.url), options.token, waitMs) }
}

interface HealthEntry {
  Node: { Address: string }
  Service: {
    ID: string
    Service: string
    Address: string
    Port: number
    Meta?: Record<string, string> | null
    Weights?: { Passing: number }
  }
}

class ConsulConnection implements RegistryConnection {
  readonly readTimeoutMs: number
  readonly registrations = {
    put: (instance: RegisteredInstance, options: { signal: AbortSignal }) => this.#put(instance, options.signal),
    confirm: (instance: RegisteredInstance, options: { signal: AbortSignal }) => this.#confirm(instance, options.signal),
    remove: (id: string, options: { signal: AbortSignal }) => this.#remove(id, options.signal),
  }
  readonly #pool: Pool
  readonly #pathPrefix: string
  readonly #token: Credential | undefined
  readonly #waitMs: number

  constructor(url: URL, token: Credential | undefined, waitMs: number) {
    this.readTimeoutMs = waitMs + waitMs / 16 + ANSWER_MS
    // The core decides how long a request may take; undici's own limits would cut a long wait.
    this.#pool = new Pool(url.origin, { headersTimeout: 0, bodyTimeout: ANSWER_MS, connectTimeout: ANSWER_MS })
    this.#pathPrefix = url.pathname.replace(/\/$/, '')
    this.#token = token
    this.#waitMs = waitMs
  }

  async read(service: string, { cursor, signal }: { cursor: string | undefined; signal: AbortSignal }) {
    const wait = cursor === undefined ? '' : `&index=${cursor}&wait=${this.#waitMs}ms`
    const { status, body, headers } = await this.#ask(
      'GET',
      `/v1/health/service/${encodeURIComponent(service)}?passing&stale${wait}`,
      signal,
    )
    if (status !== 200) throw this.#refusal(status, body, service)
    const index = Number(headers['x-consul-index'])
    // An index that is missing, below 1 or lower than before would make the next request spin or wait for the past.
    const backwards = cursor !== undefined && index < Number(cursor)
    const next = Number.isInteger(index) && index >= 1 && !backwards ? String(index) : '1'
    return { instances: (JSON.parse(body) as HealthEntry[]).map(toInstance), cursor: next }
  }

  async close(): Promise<void> {
    await this.#pool.destroy()
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
    const { status, body } = await this.#ask('PUT', '/v1/agent/service/register?replace-existing-checks=true', signal, entry)
    if (status !== 200) throw this.#refusal(status, body, instance.service)
  }

  async #confirm(instance: RegisteredInstance, signal: AbortSignal): Promise<boolean> {
    const id = encodeURIComponent(instance.id)
    const found = await this.#ask('GET', `/v1/agent/service/${id}`, signal)
    if (found.status === 404) return false
    if (found.status !== 200) throw this.#refusal(found.status, found.body, instance.service)
    if (!sameEntry(JSON.parse(found.body) as Record<string, unknown>, toEntry(instance))) return false
    if (!('ttlMs' in instance.check)) return true
    // Old agents answer 500, newer ones 404, when the check is gone though the service is there.
    const { status } = await this.#ask('PUT', `/v1/agent/check/pass/service:${id}`, signal)
    return status === 200
  }

  async #remove(id: string, signal: AbortSignal): Promise<void> {
    const { status, body } = await this.#ask('PUT', `/v1/agent/service/deregister/${encodeURIComponent(id)}`, signal)
    if (status !== 200 && status !== 404 && !body.includes('Unknown service')) throw this.#refusal(status, body, id)
  }

  async #ask(method: 'GET' | 'PUT', path: string, signal: AbortSignal, json?: unknown) {
    const headers: Record<string, string> = {}
    if (this.#token !== undefined) headers['x-consul-token'] = await revealCredential(this.#token)
    if (json !== undefined) headers['content-type'] = 'application/json'
    const body = json === undefined ? null : JSON.stringify(json)
    const answer = await this.#pool.request({ method, path: this.#pathPrefix + path, headers, body, signal })
    return { status: answer.statusCode, headers: answer.headers, body: await answer.body.text() }
  }

  #refusal(status: number, body: string, service: string): DiscoveryError {
    const final = status >= 400 && status < 500 && status !== 408 && status !== 429
    const code = final ? 'ERR_DISCOVERY_REFUSED' : 'ERR_DISCOVERY_UNAVAILABLE'
    return new DiscoveryError(code, `consul answered ${status}: ${body.slice(0, 200)}`, { service, status })
  }
}

function toInstance({ Node, Service }: HealthEntry): Instance {
  const { Meta, Weights } = Service
  return {
    id: Service.ID,
    service: Service.Service,
    address: Service.Address || Node.Address,
    port: Service.Port,
    ...(Weights !== undefined && Weights.Passing > 1 ? { weight: Weights.Passing } : {}),
    ...(Meta && Object.keys(Meta).length > 0 ? { meta: Meta } : {}),
  }
}

function toEntry(instance: Instance) {
  const weight = Math.max(1, Math.round(instance.weight ?? 1))
  return {
    ID: instance.id,
    Name: instance.service,
    Address: instance.address,
    Port: instance.port,
    Meta: instance.meta ?? {},
    Weights: { Passing: weight, Warning: 1 },
  }
}

function sameEntry(found: Record<string, unknown>, wanted: ReturnType<typeof toEntry>): boolean {
  const shape = (name: unknown, entry: Record<string, unknown>) => {
    const meta = Object.entries((entry['Meta'] ?? {}) as Record<string, string>).sort(([a], [b]) => (a < b ? -1 : 1))
    return JSON.stringify([name, entry['Address'], entry['Port'], meta, (entry['Weights'] as { Passing?: number } | undefined)?.Passing])
  }
  return shape(found['Service'], found) === shape(wanted.Name, wanted)
}
