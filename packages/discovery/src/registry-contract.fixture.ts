import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createDiscovery, type Discovery, type Instance, type RegistryDriver } from './index.ts'

/** One registry as the contract needs it. */
export interface RegistrySite {
  readonly driver: RegistryDriver
  /** Begins the names of its services. */
  readonly prefix: string
  /** Ports of the entries that the server itself says are well. */
  passing(service: string): Promise<number[]>
  /** Somebody removes an entry behind our back. */
  lose(service: string, id: string): Promise<void>
  /** Somebody writes another port into an entry. */
  change(service: string, id: string, port: number): Promise<void>
}

const POLL = { timeout: 60_000, interval: 50 }
const CONTRACT_MS = 180_000
const sorted = (instances: readonly Instance[]): number[] => instances.map(({ port }) => port).sort((a, b) => a - b)

/** What every registry that takes registrations does. `site` gives a site for one test. */
export function describeRegistry(name: string, site: () => Promise<RegistrySite>): void {
  describe(`contract of a registry: ${name}`, { timeout: CONTRACT_MS }, () => {
    const on = (driver: RegistryDriver): Discovery => {
      const discovery = createDiscovery({ registry: driver, emptyConfirmMs: 200 })
      onTestFinished(() => discovery.close({ timeoutMs: 3000 }))
      return discovery
    }

    it('registers, resolves, watches, deregisters', async () => {
      const { driver, prefix, passing } = await site()
      const service = `${prefix}-life`
      const [server, reader] = [on(driver), on(driver)]
      const place = { service, address: '127.0.0.1', port: 4001, weight: 3, meta: { zone: 'a' } }
      const registration = await server.register({ ...place, check: { ttlMs: 3000 } })
      expect([registration.registered, await passing(service)]).toEqual([true, [4001]])
      const seen: number[][] = []
      await vi.waitFor(async () => expect(await reader.resolve(service)).toEqual([{ id: `${service}-127.0.0.1-4001`, ...place }]), POLL)
      reader.watch(service, (instances) => seen.push(sorted(instances)))
      const second = await server.register({ service, address: '127.0.0.1', port: 4002, check: { ttlMs: 3000 } })
      await vi.waitFor(() => expect(seen.at(-1)).toEqual([4001, 4002]), POLL)
      await second.deregister()
      await vi.waitFor(() => expect(seen.at(-1)).toEqual([4001]), POLL)
      await server.close()
      expect(await passing(service)).toEqual([])
      await vi.waitFor(() => expect(seen.at(-1)).toEqual([]), POLL)
    })

    it('knows that an unknown service has no instance', async () => {
      const { driver, prefix } = await site()
      expect(await on(driver).resolve(`${prefix}-unknown`)).toEqual([])
    })

    it('puts an entry back that somebody removed or changed', async () => {
      const { driver, prefix, passing, lose, change } = await site()
      const service = `${prefix}-lost`
      const { id } = await on(driver).register({ service, address: '127.0.0.1', port: 4003, check: { ttlMs: 1500 } })
      await lose(service, id)
      expect(await passing(service)).toEqual([])
      await vi.waitFor(async () => expect(await passing(service)).toEqual([4003]), POLL)
      await change(service, id, 4999)
      await vi.waitFor(async () => expect(await passing(service)).toEqual([4003]), POLL)
    })

    it('of two registrations of one id the later one stands', async () => {
      const { driver, prefix, passing } = await site()
      const service = `${prefix}-twice`
      const server = on(driver)
      const [first, second] = await Promise.all(
        [4004, 4005].map((port) => server.register({ id: `${service}-me`, service, address: '127.0.0.1', port, check: { ttlMs: 3000 } })),
      )
      expect([first!.registered, second!.registered, await passing(service)]).toEqual([false, true, [4005]])
    })

    it('carries text and numbers as they were written', async () => {
      const { driver, prefix } = await site()
      const service = `${prefix}-odd`
      const meta = { empty: '', note: 'Straße "5" <&> 東京', version: '1.0.0+build/7' }
      const [server, reader] = [on(driver), on(driver)]
      await server.register({ id: `${service}/1 ä?`, service, address: '127.0.0.1', port: 65_535, weight: 65_535, meta })
      await vi.waitFor(
        async () =>
          expect(await reader.resolve(service)).toEqual([
            { id: `${service}/1 ä?`, service, address: '127.0.0.1', port: 65_535, weight: 65_535, meta },
          ]),
        POLL,
      )
    })
  })
}
