import { type Instance, weightOf } from '../registry.ts'
import { addressBytes, bytesOfLabel } from './address.ts'
import { HOST_TTL_SECONDS, HostNames } from './host-names.ts'
import { LARGEST_SECTION, record, type Reply, reply, type Section, section, soaRecord, srvData, TYPE } from './message.ts'
import { isDomainName } from './name.ts'

/** An address never changes under a name that is made of it. */
const ADDRESS_TTL_SECONDS = 3600
const NEGATIVE_TTL_SECONDS = 1
const LARGEST_WEIGHT = 65_535

interface Place {
  readonly address: string
  readonly port: number
}

interface ServiceZoneOptions {
  readonly domain: string
  readonly ttlSeconds: number
  /** Stands for a service that has no instance. */
  readonly sentinel: Place | undefined
  /** Instances that no record can hold, or that are too many for one answer. */
  onLeftOut(service: string, count: number): void
}

interface KnownService {
  /** Addresses and host names. */
  readonly addresses: ReadonlySet<string>
  readonly srv: Section
}

/**
 * What is answered below the domain:
 *
 * - `<service>.<domain>`, also below two labels like `_http._tcp`: its instances (SRV, A, AAAA),
 * - `<address in hex>.addr.<domain>`: that address; targets of SRV records are such names,
 * - `<host>.host.<domain>`: the target of an instance that is registered by a host name.
 */
export class ServiceZone {
  readonly #options: ServiceZoneOptions
  readonly #hosts = new HostNames()
  /** Undefined: it is served, and nothing is known of it yet. */
  readonly #services = new Map<string, KnownService | undefined>()
  readonly #authority: Section
  readonly #lastingAuthority: Section

  constructor(options: ServiceZoneOptions) {
    this.#options = options
    this.#authority = section([soaRecord(options.domain, NEGATIVE_TTL_SECONDS)])
    this.#lastingAuthority = section([soaRecord(options.domain, ADDRESS_TTL_SECONDS)])
  }

  add(service: string): void {
    this.#services.set(service.toLowerCase(), undefined)
  }

  remove(service: string): void {
    this.#services.delete(service.toLowerCase())
  }

  update(service: string, instances: readonly Instance[]): void {
    const places =
      instances.length === 0 && this.#options.sentinel !== undefined ? [sentinelOf(service, this.#options.sentinel)] : instances
    const addresses = new Set(places.map(({ address }) => address.toLowerCase()))
    this.#services.set(service.toLowerCase(), { addresses, srv: this.#srv(service, places) })
  }

  async answer(name: string, type: number): Promise<Reply> {
    const { domain } = this.#options
    if (name === domain) return type === TYPE.SOA ? reply('NOERROR', this.#authority) : this.#none()
    if (!name.endsWith(`.${domain}`)) return reply('REFUSED')
    const labels = name.slice(0, -domain.length - 1).split('.')
    const prefixed = labels.length > 2 && labels[0]!.startsWith('_') && labels[1]!.startsWith('_')
    const service = (prefixed ? labels.slice(2) : labels).join('.')
    if (this.#services.has(service)) return this.#service(this.#services.get(service), type)
    if (labels.at(-1) === 'addr' && labels.length === 2) return this.#address(labels[0]!, type)
    if (labels.at(-1) === 'host') return this.#host(labels.slice(0, -1).join('.'), type)
    return reply('NXDOMAIN', undefined, this.#authority)
  }

  #none(): Reply {
    return reply('NOERROR', undefined, this.#authority)
  }

  async #service(known: KnownService | undefined, type: number): Promise<Reply> {
    if (known === undefined) return reply('SERVFAIL')
    const { addresses, srv } = known
    // There are instances, and none of them can be told of.
    if (addresses.size > 0 && srv.count === 0) return reply('SERVFAIL')
    if (type === TYPE.SRV) return srv.count === 0 ? this.#none() : reply('NOERROR', srv)
    if (type !== TYPE.A && type !== TYPE.AAAA) return this.#none()
    const found = (await Promise.all([...addresses].map((address) => this.#hosts.addresses(address)))).flat()
    if (addresses.size > 0 && found.length === 0) return reply('SERVFAIL')
    const records = addressRecords(new Set(found), type, this.#options.ttlSeconds)
    return records.length === 0 ? this.#none() : reply('NOERROR', fitting(shuffled(records)))
  }

  #address(label: string, type: number): Reply {
    const bytes = bytesOfLabel(label)
    if (bytes === undefined) return reply('NXDOMAIN', undefined, this.#authority)
    if (type !== typeOf(bytes)) return reply('NOERROR', undefined, this.#lastingAuthority)
    return reply('NOERROR', section([record(type, ADDRESS_TTL_SECONDS, bytes)]))
  }

  /** Only for names of instances: this is no resolver for everybody. */
  async #host(host: string, type: number): Promise<Reply> {
    const isKnown = [...this.#services.values()].some((known) => known?.addresses.has(host))
    if (!isKnown) return reply('NXDOMAIN', undefined, this.#authority)
    const addresses = await this.#hosts.addresses(host)
    if (addresses.length === 0) return reply('SERVFAIL')
    const records = addressRecords(new Set(addresses), type, HOST_TTL_SECONDS)
    return records.length === 0 ? this.#none() : reply('NOERROR', section(records))
  }

  #srv(service: string, instances: readonly Instance[]): Section {
    const { ttlSeconds, onLeftOut } = this.#options
    const records = new Map<string, Buffer>()
    let unfit = 0
    for (const instance of instances) {
      const target = this.#target(instance.address)
      const { port } = instance
      const weight = Math.min(LARGEST_WEIGHT, Math.max(1, Math.round(weightOf(instance))))
      if (target === undefined || !(port >= 1 && port <= 65_535)) unfit++
      else records.set(`${target}:${port}`, record(TYPE.SRV, ttlSeconds, srvData(weight, port, target)))
    }
    const all = [...records.values()]
    const fits = fitting(all)
    const leftOut = unfit + all.length - fits.count
    if (leftOut > 0) onLeftOut(service, leftOut)
    return fits
  }

  #target(address: string): string | undefined {
    const { domain } = this.#options
    const bytes = addressBytes(address)
    const target = bytes === undefined ? `${address.toLowerCase()}.host.${domain}` : `${bytes.toString('hex')}.addr.${domain}`
    return isDomainName(target) ? target : undefined
  }
}

function sentinelOf(service: string, { address, port }: Place): Instance {
  return { id: 'sentinel', service, address, port }
}

/** As many as one answer can hold. */
function fitting(records: readonly Buffer[]): Section {
  let bytes = 0
  const tooMany = records.findIndex(({ length }) => (bytes += length) > LARGEST_SECTION)
  return section(tooMany === -1 ? records : records.slice(0, tooMany))
}

function typeOf(bytes: Buffer): number {
  return bytes.length === 4 ? TYPE.A : TYPE.AAAA
}

function addressRecords(addresses: Iterable<string>, type: number, ttlSeconds: number): Buffer[] {
  const all = [...addresses].flatMap((address) => addressBytes(address) ?? [])
  return all.filter((bytes) => typeOf(bytes) === type).map((bytes) => record(type, ttlSeconds, bytes))
}

/** Many clients take the first. */
function shuffled<T>(values: T[]): T[] {
  for (let last = values.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1))
    ;[values[last], values[other]] = [values[other]!, values[last]!]
  }
  return values
}
