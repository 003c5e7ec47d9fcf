import { startConsul } from '@platform/stack'
import { expect, it, onTestFinished, vi } from 'vitest'
import { createDiscovery, type Instance } from '../index.ts'
import { consul } from './consul.ts'
import { dns } from './dns.ts'

const POLL = { timeout: 60_000, interval: 100 }
const ports = (instances: readonly Instance[]): number[] => instances.map(({ port }) => port)

it('follows all instances of a service in a real agent, also more than it puts into a datagram', { timeout: 180_000 }, async () => {
  const agent = await startConsul({ fresh: true, dns: true })
  onTestFinished(() => agent.stop())
  const writer = createDiscovery({ registry: consul({ url: agent.url }) })
  const nameServer = `127.0.0.1:${Number(new URL(agent.url).port) + 3}`
  const reader = createDiscovery({
    registry: dns({ nameOf: (service) => `${service}.service.consul`, servers: [nameServer] }),
    emptyConfirmMs: 200,
  })
  onTestFinished(async () => {
    await reader.close()
    await writer.close()
  })
  expect(await reader.resolve('shop')).toEqual([])
  const all = Array.from({ length: 40 }, (_, index) => 4000 + index)
  const registrations = await Promise.all(
    all.map((port) =>
      writer.register({ service: 'shop', address: '127.0.0.1', port, weight: port === 4000 ? 7 : 1, check: { ttlMs: 60_000 } }),
    ),
  )
  await vi.waitFor(async () => expect(ports(await reader.resolve('shop')).toSorted((a, b) => a - b)).toEqual(all), POLL)
  expect((await reader.resolve('shop')).find(({ port }) => port === 4000)).toMatchObject({ address: '127.0.0.1', weight: 7 })
  await Promise.all(registrations.slice(1).map((registration) => registration.deregister()))
  await vi.waitFor(async () => expect(ports(await reader.resolve('shop'))).toEqual([4000]), POLL)
  await agent.kill()
  await vi.waitFor(() => expect(reader.stats().services['shop']).toEqual({ instances: 1, stale: true }), POLL)
})
