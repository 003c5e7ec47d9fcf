import { baseUrl, type Instance, isHost, type RegisteredInstance } from '../registry.ts'

/** An entry as the server tells it; the core checks what comes out of it. */
export interface InstanceInfo {
  readonly instanceId?: unknown
  readonly app?: unknown
  readonly hostName?: unknown
  readonly ipAddr?: unknown
  readonly status?: unknown
  readonly port?: Port
  readonly securePort?: Port
  readonly metadata?: Readonly<Record<string, unknown>> | null
  /** Milliseconds since 1970 by the clock of whoever wrote it. */
  readonly lastDirtyTimestamp?: unknown
  /** In a delta only. */
  readonly actionType?: unknown
}

type Port = { readonly $?: unknown; readonly '@enabled'?: unknown } | null

/** How an entry's life depends on signs of life. */
export interface Lease {
  readonly renewalIntervalMs: number
  readonly durationMs: number
}

/** Where a weight stands, which Eureka has no field for. */
const WEIGHT = 'weight'
/** The name of a Java class, which the server's serializer leaves among the metadata. */
const CLASS = '@class'

/** Entries of old clients have no id of their own: there the host's name is it. */
export function idOf({ instanceId, hostName }: InstanceInfo): string {
  return String(instanceId ?? hostName)
}

export function isUp({ status }: InstanceInfo): boolean {
  return status === 'UP'
}

export function toInstance(info: InstanceInfo, service: string, preferIpAddress: boolean): Instance {
  const { hostName, ipAddr, port, securePort } = info
  const [first, second] = preferIpAddress ? [ipAddr, hostName] : [hostName, ipAddr]
  const isSecure = isEnabled(securePort) && !isEnabled(port)
  const { [CLASS]: _, [WEIGHT]: weight, ...meta } = { ...info.metadata, ...(isSecure ? { scheme: 'https' } : {}) } as Record<string, string>
  return {
    id: idOf(info),
    service,
    address: (isHost(first) ? first : second) as string,
    port: Number((isSecure ? securePort : port)?.$),
    ...(weight !== undefined && /^[1-9]\d{0,4}$/.test(String(weight)) ? { weight: Number(weight) } : {}),
    ...(Object.keys(meta).length > 0 ? { meta } : {}),
  }
}

/** What is written to a server. */
export interface WrittenInfo extends InstanceInfo {
  readonly lastDirtyTimestamp: string
  readonly [field: string]: unknown
}

export function toInfo(instance: RegisteredInstance, { renewalIntervalMs, durationMs }: Lease, changedAt: number): WrittenInfo {
  const { id, service, address, port, weight, meta, check } = instance
  const isSecure = meta?.['scheme'] === 'https'
  const origin = baseUrl(instance)
  const healthCheckUrl = 'http' in check ? (check.http.startsWith('/') ? origin + check.http : check.http) : undefined
  return {
    instanceId: id,
    app: appOf(service),
    hostName: address,
    ipAddr: address,
    vipAddress: service,
    secureVipAddress: service,
    status: 'UP',
    port: { $: port, '@enabled': String(!isSecure) },
    securePort: { $: isSecure ? port : 443, '@enabled': String(isSecure) },
    homePageUrl: origin,
    ...(healthCheckUrl === undefined ? {} : { [isSecure ? 'secureHealthCheckUrl' : 'healthCheckUrl']: healthCheckUrl }),
    dataCenterInfo: { '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo', name: 'MyOwn' },
    leaseInfo: { renewalIntervalInSecs: renewalIntervalMs / 1000, durationInSecs: durationMs / 1000 },
    metadata: { ...meta, ...(weight === undefined ? {} : { [WEIGHT]: String(weight) }) },
    lastDirtyTimestamp: String(changedAt),
  }
}

/** Whether the server has the place and the metadata that were written; its status is the operator's to change. */
export function isSame(found: InstanceInfo, written: WrittenInfo): boolean {
  const shape = ({ hostName, port, securePort, metadata }: InstanceInfo): string => {
    const { [CLASS]: _, ...meta } = { ...metadata }
    const sorted = Object.entries(meta).sort(([a], [b]) => (a < b ? -1 : 1))
    return JSON.stringify([hostName, Number(port?.$), isEnabled(port), Number(securePort?.$), isEnabled(securePort), sorted])
  }
  return shape(found) === shape(written)
}

/** The server knows applications in capitals. */
export function appOf(service: string): string {
  return service.toUpperCase()
}

function isEnabled(port: Port | undefined): boolean {
  return String(port?.['@enabled']) === 'true'
}
