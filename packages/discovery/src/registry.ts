import { isIP } from 'node:net'

/** One place where a service answers. */
export interface Instance {
  readonly id: string
  readonly service: string
  readonly address: string
  readonly port: number
  /** Share of the traffic relative to the others: a whole number from 1 to 65,535, as registries carry it. Default 1. */
  readonly weight?: number
  /** `scheme: 'https'` makes clients use TLS; `zone` is where it stands. */
  readonly meta?: Readonly<Record<string, string>>
}

export type Check = { http: string; intervalMs: number } | { ttlMs: number }

export interface RegisteredInstance extends Instance {
  readonly check: Check
}

export interface ReadResult {
  readonly instances: readonly Instance[]
  /** Handed to the next read, which then waits for a change. */
  readonly cursor: string
  /** Ids of entries that the registry has and calls out of service. That is believed at once, however many they are. */
  readonly outOfService?: ReadonlySet<string>
}

/** What a registry is to the core, which does all the waiting, repeating, guarding and comparing. */
export interface RegistryDriver {
  readonly name: string
  /** Called once per discovery; connects at first use. */
  open(): RegistryConnection
}

export interface RegistryConnection {
  /**
   * The instances that the registry holds for healthy. Without a cursor it answers at once; with one it may wait until the set has changed
   * or some time has passed. Rejects when the registry cannot say, never with an empty set.
   */
  read(service: string, options: { cursor: string | undefined; signal: AbortSignal }): Promise<ReadResult>
  /** The longest a healthy `read` takes; the core cuts it off then. Undefined: without limit. */
  readonly readTimeoutMs: number | undefined
  /** How old an answer may be: what is missing in it in doubt is kept for so long at least. Default 0. */
  readonly confirmMs?: number
  /** Absent: the registry is a fixed list and there is nothing to register. */
  readonly registrations?: Registrations
  close(): Promise<void>
}

export interface Registrations {
  /** How often `confirm` is called. Default: every 5 s at most, a third of a TTL if that is shorter, with jitter. */
  readonly confirmEveryMs?: number
  /** Creates or replaces the entry with this id. Rejects with ERR_DISCOVERY_REFUSED when asking again will not help. */
  put(instance: RegisteredInstance, options: { signal: AbortSignal }): Promise<void>
  /** Whether the registry has this entry as it should be. For a TTL check this also is the sign of life. */
  confirm(instance: RegisteredInstance, options: { signal: AbortSignal }): Promise<boolean>
  /**
   * The request that is the sign of life of a TTL check, for a worker thread to repeat while this one is busy. Absent: there is none such.
   */
  signOfLife?(instance: RegisteredInstance): Promise<{ url: string; method: string; headers: Readonly<Record<string, string>> }>
  /** Resolves also when there was none. */
  remove(id: string, options: { signal: AbortSignal }): Promise<void>
}

export function baseUrl(instance: Instance): string {
  const host = instance.address.includes(':') ? `[${instance.address}]` : instance.address
  return `${instance.meta?.['scheme'] === 'https' ? 'https' : 'http'}://${host}:${instance.port}`
}

/** Two entries with the same key are the same place with the same life. */
export function instanceKey(instance: Instance): string {
  return `${instance.id} ${baseUrl(instance)}`
}

/** What a registry says cannot be checked when it is made: what is no share counts as 1. */
export function weightOf({ weight = 1 }: Instance): number {
  return weight > 0 && weight < Number.POSITIVE_INFINITY ? weight : 1
}

export function isHost(address: unknown): address is string {
  return typeof address === 'string' && (isIP(address) !== 0 || /^[\w.-]{1,253}$/.test(address))
}

export function isMeta(meta: unknown): meta is Readonly<Record<string, string>> {
  return typeof meta === 'object' && meta !== null && Object.values(meta).every((value) => typeof value === 'string')
}

/** Whether what a registry or a file calls an instance can be asked. */
export function isUsable(value: unknown): value is Instance {
  const { id, service, address, port, meta } = (value ?? {}) as Partial<Record<keyof Instance, unknown>>
  if (typeof id !== 'string' || id === '' || typeof service !== 'string' || !isHost(address)) return false
  if (!Number.isInteger(port) || (port as number) < 1 || (port as number) > 65_535) return false
  return (meta === undefined || isMeta(meta)) && URL.canParse(baseUrl(value as Instance))
}
