import { isIP } from 'node:net'
import type { Discovery } from '@platform/discovery'
import { settlesWithin } from '@platform/kernel'
import { createDnsResponder, type DnsResponder } from '@platform/discovery/dns-responder'
import type { Endpoint, Endpoints } from './compile/upstreams.ts'
import type { LoggerLike } from './logger-like.ts'
import { Sentinel } from './sentinel.ts'

/** How nginx hears of instances. */
export interface EndpointSource {
  ready(): Promise<void>
  /** Who is followed from now on. */
  follow(services: readonly string[]): void
  current(): Endpoints
  close(): Promise<void>
}

const domain = 'platform.internal'

/** Resolves when the first set of each service is there, or after the time: nginx then begins with what is known. */
export async function firstSets(discovery: Pick<Discovery, 'watch'>, services: readonly string[], ms: number): Promise<void> {
  const watches = services.map((service) => {
    const heard = Promise.withResolvers<void>()
    return { heard: heard.promise, unwatch: discovery.watch(service, () => heard.resolve()) }
  })
  await settlesWithin(Promise.all(watches.map(({ heard }) => heard)), ms)
  for (const { unwatch } of watches) unwatch()
}

/** nginx asks a name server of ours: no reload for whatever comes and goes. */
export function dnsEndpoints(discovery: Pick<Discovery, 'watch'>, logger: LoggerLike): EndpointSource {
  const sentinel = new Sentinel()
  let services: readonly string[] = []
  let responder: DnsResponder | undefined
  return {
    async ready() {
      const port = await sentinel.listen()
      responder = createDnsResponder({ discovery, services, domain, sentinel: { address: '127.0.0.1', port }, logger })
      await responder.ready()
    },
    follow(next) {
      services = next
      responder?.update({ services })
    },
    current: () => ({ by: 'dns', resolver: responder?.address ?? '127.0.0.1:9', domain }),
    async close() {
      await responder?.close()
      await sentinel.close()
    },
  }
}

/** Each changed set makes another text; `onChange` is called when it differs, whatever the order was. */
export function textEndpoints(discovery: Pick<Discovery, 'watch'>, logger: LoggerLike, onChange: () => void): EndpointSource {
  const watches = new Map<string, () => void>()
  const sets = new Map<string, readonly Endpoint[]>()
  return {
    ready: async () => {},
    follow(services) {
      for (const [service, unwatch] of watches) {
        if (services.includes(service)) continue
        unwatch()
        watches.delete(service)
        sets.delete(service)
      }
      for (const service of services.filter((each) => !watches.has(each))) {
        watches.set(
          service,
          discovery.watch(service, (instances) => {
            const usable = instances.filter(({ address }) => isIP(address) !== 0)
            if (usable.length < instances.length) logger.warn({ service }, 'instances without an IP address are left out')
            const set = usable
              .map(({ address, port, weight }): Endpoint => ({ address, port, weight: weight ?? 1 }))
              .toSorted((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : a.port - b.port))
            if (JSON.stringify(set) === JSON.stringify(sets.get(service) ?? [])) return
            sets.set(service, set)
            onChange()
          }),
        )
      }
    },
    current: () => ({ by: 'text', of: new Map(sets) }),
    async close() {
      for (const unwatch of watches.values()) unwatch()
      watches.clear()
    },
  }
}
