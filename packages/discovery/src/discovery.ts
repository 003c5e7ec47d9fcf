import { durationOption, functionOption, integerOption, knownOptions, safeLogger, settlesWithin } from '@platform/kernel'
import { DiscoveryError, refuseOption as refuse } from './errors.ts'
import { type DiscoveryEvent, DiscoveryEvents } from './events.ts'
import { Heartbeat } from './heartbeat.ts'
import type { LoggerLike } from './logger-like.ts'
import { Registrar } from './registrar.ts'
import {
  type Check,
  type Instance,
  isHost,
  isMeta,
  type RegisteredInstance,
  type RegistryConnection,
  type RegistryDriver,
} from './registry.ts'
import { PooledServiceClient, type ServiceClient, type ServiceClientOptions } from './service-client.ts'
import { ServiceWatch } from './service-watch.ts'
import { SnapshotFile } from './snapshot-file.ts'

export interface DiscoveryOptions {
  /** With several, the first in order that has instances of a service decides; registrations go to all. */
  registry: RegistryDriver | readonly RegistryDriver[]
  /** File that keeps the last non-empty sets for a start without registry. Default: none. */
  snapshotFile?: string | undefined
  /** How long a registry must go on without instances that it lost many at a time, or all, before they are dropped. Default 5000. */
  emptyConfirmMs?: number | undefined
  /** How long a worker thread gives the sign of life of a `ttlMs` check for a process that is too busy to. 0: never. Default 30,000. */
  stallGraceMs?: number | undefined
  logger?: LoggerLike | undefined
  /** Called in line with each change; an error it throws is logged. */
  onEvent?: ((event: DiscoveryEvent) => void) | undefined
}

export type RegisterOptions = Omit<Instance, 'id'> & {
  /** Default: made of service, address and port, so that a restarted process replaces its entry. */
  id?: string | undefined
  /** `http`: a URL or a path on the instance that the registry asks. `ttlMs`: this process gives the sign of life. Default `{ ttlMs: 15000 }`. */
  check?: Check | undefined
}

export interface Registration {
  readonly id: string
  /** Whether all registries confirmed it at the last look. */
  readonly registered: boolean
  deregister(): Promise<void>
}

export interface DiscoveryStats {
  readonly services: Readonly<Record<string, { instances: number | undefined; stale: boolean }>>
  readonly registrations: Readonly<Record<string, boolean>>
}

export interface Discovery {
  /** Resolves after the first try. A registry that is down is tried on in the background; one that refuses rejects. */
  register(instance: RegisterOptions): Promise<Registration>
  /** The current set, which is followed from then on. Rejects when no registry answers and nothing is remembered. */
  resolve(service: string, options?: { signal?: AbortSignal | undefined }): Promise<readonly Instance[]>
  /** Called with the set as soon as it is known and with every change. Returns the end. */
  watch(service: string, onChange: (instances: readonly Instance[]) => void): () => void
  client(service: string, options?: ServiceClientOptions): ServiceClient
  stats(): DiscoveryStats
  /** Warns when a set is stale or a registration is not confirmed. */
  check(options?: { signal?: AbortSignal | undefined }): Promise<void | { status: 'warn'; message: string }>
  /** Deregisters. */
  quiesce(): Promise<void>
  close(options?: { timeoutMs?: number | undefined }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const CLOSE_MS = 5000
const DEFAULT_TTL_MS = 15_000

export function createDiscovery(options: DiscoveryOptions): Discovery {
  knownOptions(refuse, '', options, ['registry', 'snapshotFile', 'emptyConfirmMs', 'stallGraceMs', 'logger', 'onEvent'])
  return new RegistryDiscovery(options)
}

class RegistryDiscovery implements Discovery {
  readonly #registries: readonly { name: string; connection: RegistryConnection }[]
  readonly #snapshot: SnapshotFile | undefined
  readonly #emptyConfirmMs: number
  readonly #logger: LoggerLike | undefined
  readonly #watches = new Map<string, ServiceWatch>()
  readonly #clients = new Set<ServiceClient>()
  readonly #registrations = new Map<string, Registration>()
  /** What is being done to an entry: one thing after the other. */
  readonly #busy = new Map<string, Promise<unknown>>()
  readonly #events: DiscoveryEvents
  readonly #heartbeat: Heartbeat
  /** How often everything was deregistered: what began to be registered before that is not any more. */
  #departures = 0
  #closing: Promise<void> | undefined

  constructor({ registry, snapshotFile, emptyConfirmMs = 5000, stallGraceMs = 30_000, onEvent, ...rest }: DiscoveryOptions) {
    const logger = safeLogger(rest.logger)
    const drivers = (Array.isArray(registry) ? registry : [registry]) as readonly RegistryDriver[]
    if (drivers.length === 0 || drivers.some((driver) => typeof driver?.open !== 'function'))
      throw refuse('registry', 'must be one or more drivers')
    if (snapshotFile !== undefined && (typeof snapshotFile !== 'string' || snapshotFile === ''))
      throw refuse('snapshotFile', 'must be a path')
    this.#emptyConfirmMs = durationOption(refuse, 'emptyConfirmMs', emptyConfirmMs, 0)
    this.#snapshot = snapshotFile === undefined ? undefined : new SnapshotFile(snapshotFile, logger)
    this.#logger = logger
    this.#events = new DiscoveryEvents(functionOption(refuse, 'onEvent', onEvent), logger)
    this.#heartbeat = new Heartbeat(durationOption(refuse, 'stallGraceMs', stallGraceMs, 0))
    this.#registries = drivers.map((driver) => ({ name: driver.name, connection: driver.open() }))
  }

  async register(options: RegisterOptions): Promise<Registration> {
    const instance = toRegistered(options)
    this.#throwIfClosed()
    const departures = this.#departures
    return this.#oneAtATime(instance.id, () => this.#register(instance, departures))
  }

  async resolve(service: string, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<readonly Instance[]> {
    signal?.throwIfAborted()
    return this.#watchOf(service).known(signal)
  }

  watch(service: string, onChange: (instances: readonly Instance[]) => void): () => void {
    return this.#watchOf(service).subscribe(onChange)
  }

  client(service: string, options: ServiceClientOptions = {}): ServiceClient {
    const client = new PooledServiceClient(service, this.#watchOf(service), options, this.#events, (closed) => this.#clients.delete(closed))
    this.#clients.add(client)
    return client
  }

  stats(): DiscoveryStats {
    return {
      services: Object.fromEntries(
        [...this.#watches].map(([name, watch]) => [name, { instances: watch.instances?.length, stale: watch.stale }]),
      ),
      registrations: Object.fromEntries([...this.#registrations].map(([id, { registered }]) => [id, registered])),
    }
  }

  async check(): Promise<void | { status: 'warn'; message: string }> {
    const { services, registrations } = this.stats()
    const problems = [
      ...Object.entries(services).flatMap(([name, { stale }]) => (stale ? [`instances of ${name} are stale`] : [])),
      ...Object.entries(registrations).flatMap(([id, registered]) => (registered ? [] : [`${id} is not registered`])),
    ]
    return problems.length === 0 ? undefined : { status: 'warn', message: problems.join('; ') }
  }

  async quiesce(): Promise<void> {
    this.#departures++
    // Entries that are being written are known already; a second one for the same id finds that it is too late.
    await Promise.all([...this.#registrations.values()].map((registration) => registration.deregister()))
  }

  close({ timeoutMs = CLOSE_MS }: { timeoutMs?: number | undefined } = {}): Promise<void> {
    this.#closing ??= (async () => {
      const until = performance.now() + timeoutMs
      if (!(await settlesWithin(this.quiesce(), timeoutMs))) this.#logger?.warn({}, 'not deregistered in time')
      for (const watch of this.#watches.values()) watch.close()
      // Their requests went on meanwhile.
      const leftMs = Math.max(0, until - performance.now())
      await Promise.all([...this.#clients].map((client) => client.close({ timeoutMs: leftMs })))
      await this.#heartbeat.close()
      await this.#snapshot?.close()
      await Promise.all(this.#registries.map(({ connection }) => connection.close()))
    })()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #register(instance: RegisteredInstance, departures: number): Promise<Registration> {
    await this.#registrations.get(instance.id)?.deregister()
    this.#throwIfClosed()
    if (departures !== this.#departures)
      throw new DiscoveryError('ERR_DISCOVERY_CLOSED', `${instance.id}: deregistered before it was registered`)
    const registrars = this.#registries.flatMap(({ connection: { registrations } }) =>
      registrations === undefined ? [] : [new Registrar(registrations, instance, this.#logger, this.#heartbeat)],
    )
    let stopping: Promise<void> | undefined
    const registration: Registration = {
      id: instance.id,
      get registered() {
        return stopping === undefined && registrars.every((registrar) => registrar.registered)
      },
      deregister: () => {
        stopping ??= Promise.all(registrars.map((registrar) => registrar.stop())).then(() => {
          if (this.#registrations.get(instance.id) === registration) this.#registrations.delete(instance.id)
        })
        return stopping
      },
    }
    this.#registrations.set(instance.id, registration)
    const starts = await Promise.allSettled(registrars.map((registrar) => registrar.start()))
    const refused = starts.find((start) => start.status === 'rejected')
    if (refused !== undefined) {
      await registration.deregister()
      throw refused.reason
    }
    return registration
  }

  /** Of two registrations of one id at a time the second waits and then takes the place of the first. */
  async #oneAtATime<T>(id: string, work: () => Promise<T>): Promise<T> {
    const done = (this.#busy.get(id) ?? Promise.resolve()).then(work, work)
    this.#busy.set(id, done)
    try {
      return await done
    } finally {
      if (this.#busy.get(id) === done) this.#busy.delete(id)
    }
  }

  #watchOf(service: string): ServiceWatch {
    this.#throwIfClosed()
    let watch = this.#watches.get(service)
    if (watch === undefined) {
      watch = new ServiceWatch({
        service,
        registries: this.#registries,
        snapshot: this.#snapshot,
        emptyConfirmMs: this.#emptyConfirmMs,
        logger: this.#logger,
        events: this.#events,
      })
      this.#watches.set(service, watch)
    }
    return watch
  }

  #throwIfClosed(): void {
    if (this.#closing !== undefined) throw new DiscoveryError('ERR_DISCOVERY_CLOSED', 'discovery is closed')
  }
}

function toRegistered(options: RegisterOptions): RegisteredInstance {
  knownOptions(refuse, '', options, ['id', 'service', 'address', 'port', 'weight', 'meta', 'check'])
  const { id, check = { ttlMs: DEFAULT_TTL_MS }, ...place } = options
  for (const [name, value] of [['service', place.service], ...(id === undefined ? [] : [['id', id]])] as [string, unknown][]) {
    if (typeof value !== 'string' || value === '') throw refuse(name, 'must be a non-empty string')
  }
  if (!isHost(place.address)) throw refuse('address', 'must be an IP address or a host name')
  if (place.meta !== undefined && !isMeta(place.meta)) throw refuse('meta', 'must be an object of strings')
  integerOption(refuse, 'port', place.port, 1, 65_535)
  if (place.weight !== undefined) integerOption(refuse, 'weight', place.weight, 1, 65_535)
  if ('ttlMs' in check) {
    knownOptions(refuse, 'check', check, ['ttlMs'])
    durationOption(refuse, 'check.ttlMs', check.ttlMs, 1000)
  } else {
    knownOptions(refuse, 'check', check, ['http', 'intervalMs'])
    durationOption(refuse, 'check.intervalMs', check.intervalMs, 100)
    if (!check.http.startsWith('/') && !URL.canParse(check.http)) throw refuse('check.http', 'must be a URL or a path')
  }
  return Object.freeze({ ...place, id: id ?? `${place.service}-${place.address}-${place.port}`, check })
}
