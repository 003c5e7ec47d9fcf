import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { Applications } from '../eureka/applications.ts'
import { type EurekaFixture, eurekaServer } from '../eureka/eureka-server.fixture.ts'
import { toInstance } from '../eureka/instance-info.ts'
import { createDiscovery, type Discovery, type DiscoveryEvent, type DiscoveryOptions, type Instance } from '../index.ts'
import { describeRegistry } from '../registry-contract.fixture.ts'
import { eureka, type EurekaOptions } from './eureka.ts'

const POLL = { timeout: 60_000, interval: 20 }
vi.setConfig({ testTimeout: 120_000 })
const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
const ports = (instances: readonly Instance[] | undefined): number[] | undefined => instances?.map(({ port }) => port).sort((a, b) => a - b)
const fast = { fetchIntervalMs: 1000, renewalIntervalMs: 1000, leaseMs: 3000, serverCacheMs: 0, timeoutMs: 1000 }

function on(
  servers: readonly EurekaFixture[] | EurekaFixture,
  options: Partial<EurekaOptions> = {},
  more: Partial<DiscoveryOptions> = {},
): Discovery {
  const urls = [servers].flat().map(({ url }) => url)
  const discovery = createDiscovery({ registry: eureka({ urls, ...fast, ...options }), emptyConfirmMs: 200, ...more })
  onTestFinished(() => discovery.close({ timeoutMs: 3000 }))
  return discovery
}

function following(discovery: Discovery): { readonly sets: (number[] | undefined)[] } {
  const sets: (number[] | undefined)[] = []
  discovery.watch('shop', (instances) => void sets.push(ports(instances)))
  return { sets }
}

/** An entry that somebody else's client wrote. */
const written = (port: number, more: object = {}): object => ({
  instance: {
    instanceId: `shop:${port}`,
    app: 'SHOP',
    hostName: 'localhost',
    ipAddr: '127.0.0.1',
    status: 'UP',
    port: { $: port, '@enabled': 'true' },
    securePort: { $: 443, '@enabled': 'false' },
    dataCenterInfo: { name: 'MyOwn' },
    lastDirtyTimestamp: String(Date.now()),
    ...more,
  },
})
const write = async (server: EurekaFixture, ...all: number[]): Promise<void> => {
  for (const port of all) expect(await server.ask('POST', '/apps/SHOP', written(port))).toBe(204)
}

describeRegistry('eureka', async () => {
  const server = await eurekaServer()
  const app = (service: string): string => `/apps/${service.toUpperCase()}`
  return {
    driver: eureka({ urls: [server.url], ...fast }),
    prefix: 'shop',
    passing: async (service) => server.entries(service.toUpperCase()).map((info) => Number((info['port'] as { $: unknown }).$)),
    lose: async (service, id) => void (await server.ask('DELETE', `${app(service)}/${encodeURIComponent(id)}`)),
    change: async (service, id, port) => {
      const entry = written(port, { instanceId: id, app: service.toUpperCase(), lastDirtyTimestamp: String(Date.now() + 60_000) })
      await server.ask('POST', app(service), entry)
    },
  }
})

describe('reading', () => {
  it('asks for all once and then for changes, from time to time for all again, in one round for all services', async () => {
    const server = await eurekaServer()
    await write(server, 1)
    const discovery = on(server)
    const seen = following(discovery)
    for (let index = 0; index < 20; index++) discovery.watch(`other-${index}`, () => {})
    await vi.waitFor(() => expect(seen.sets.at(-1)).toEqual([1]), POLL)
    await write(server, 2)
    await vi.waitFor(() => expect(seen.sets.at(-1)).toEqual([1, 2]), POLL)
    await server.ask('DELETE', '/apps/SHOP/shop:1')
    await vi.waitFor(() => expect(seen.sets.at(-1)).toEqual([2]), POLL)
    const rounds = () => server.requests.filter((asked) => asked.startsWith('GET'))
    await vi.waitFor(() => expect(rounds().length).toBeGreaterThanOrEqual(12), POLL)
    const whole = 'GET /eureka/apps'
    expect(rounds().slice(0, 12)).toEqual([whole, ...Array<string>(10).fill(`${whole}/delta`), whole])
  })

  it.each<[string, (server: EurekaFixture) => void]>([
    ['does not add up', (server) => (server.forgetful = true)],
    ['is not to be had', (server) => (server.deltas = false)],
  ])('asks for all when a delta %s', async (_, spoil) => {
    const server = await eurekaServer()
    await write(server, 1)
    const discovery = on(server)
    const seen = following(discovery)
    await vi.waitFor(() => expect(seen.sets).toEqual([[1]]), POLL)
    spoil(server)
    await write(server, 2)
    await vi.waitFor(() => expect(seen.sets.at(-1)).toEqual([1, 2]), POLL)
    expect(server.requests.at(-1)).toBe('GET /eureka/apps')
  })

  it('believes at once what is told to be out of service, all of it if need be, and takes it back', async () => {
    const server = await eurekaServer()
    await write(server, 1, 2, 3, 4, 5)
    const held: DiscoveryEvent[] = []
    const onEvent = (event: DiscoveryEvent): void => void (event.type === 'removal-held' && held.push(event))
    const seen = following(on(server, {}, { onEvent, emptyConfirmMs: 60_000 }))
    await vi.waitFor(() => expect(seen.sets).toEqual([[1, 2, 3, 4, 5]]), POLL)
    for (const port of [1, 2, 3, 4, 5]) expect(await server.ask('PUT', `/apps/SHOP/shop:${port}/status?value=OUT_OF_SERVICE`)).toBe(200)
    await vi.waitFor(() => expect(seen.sets.at(-1)).toEqual([]), POLL)
    expect(await server.ask('DELETE', '/apps/SHOP/shop:3/status?value=UP')).toBe(200)
    await vi.waitFor(() => expect(seen.sets.at(-1)).toEqual([3]), POLL)
    expect(held).toEqual([])
  })

  it('an operator’s status outlives what the instance writes', async () => {
    const server = await eurekaServer()
    const { id } = await on(server).register({ service: 'shop', address: '127.0.0.1', port: 7 })
    expect(await server.ask('PUT', `/apps/SHOP/${id}/status?value=OUT_OF_SERVICE`)).toBe(200)
    const asked = server.requests.length
    await vi.waitFor(() => expect(server.requests.slice(asked).filter((line) => line.startsWith('PUT')).length).toBeGreaterThan(2), POLL)
    expect(server.requests.slice(asked).filter((line) => line.startsWith('POST'))).toEqual([])
    expect(server.entries('SHOP')).toMatchObject([{ status: 'OUT_OF_SERVICE' }])
  })
})

describe('servers that fail', () => {
  it('none at the start: registers and resolves as soon as there is one', async () => {
    const server = await eurekaServer()
    await server.stop()
    const discovery = on(server)
    const registration = await discovery.register({ service: 'shop', address: '127.0.0.1', port: 7 })
    expect(registration.registered).toBe(false)
    expect(await settled(discovery.resolve('shop'))).toMatchObject({ code: 'ERR_DISCOVERY_UNAVAILABLE' })
    await server.start()
    await vi.waitFor(() => expect(registration.registered).toBe(true), POLL)
    await vi.waitFor(async () => expect(ports(await discovery.resolve('shop'))).toEqual([7]), POLL)
  })

  it('one of several dead, failing or silent: the next is asked, and nobody notices', async () => {
    const [dead, failing, silent, good] = [await eurekaServer(), await eurekaServer(), await eurekaServer(), await eurekaServer()]
    await dead.stop()
    failing.mode = 'failing'
    silent.mode = 'silent'
    const discovery = on([dead, failing, silent, good])
    const registration = await discovery.register({ service: 'shop', address: '127.0.0.1', port: 7 })
    expect([registration.registered, ports(await discovery.resolve('shop'))]).toEqual([true, [7]])
    const [before, then] = [failing.requests.length, good.requests.length]
    await vi.waitFor(() => expect(good.requests.length).toBeGreaterThan(then + 5), POLL)
    expect(failing.requests.length, 'it stays with the one that answers').toBe(before)
    expect(await discovery.check()).toBeUndefined()
  })

  it.each(['failing', 'silent'] as const)('all %s: the last set is used and said to be stale, and it goes on afterwards', async (mode) => {
    const server = await eurekaServer()
    const discovery = on(server)
    const registration = await discovery.register({ service: 'shop', address: '127.0.0.1', port: 7 })
    const seen = following(discovery)
    await vi.waitFor(() => expect(seen.sets).toEqual([[7]]), POLL)
    server.mode = mode
    await vi.waitFor(
      () =>
        expect(discovery.stats()).toEqual({
          services: { shop: { instances: 1, stale: true } },
          registrations: { [registration.id]: false },
        }),
      POLL,
    )
    server.mode = 'well'
    await vi.waitFor(async () => expect(await discovery.check()).toBeUndefined(), POLL)
    expect(seen.sets).toEqual([[7]])
  })

  it('one that was restarted empty: all are back with their next sign of life, and no watcher saw a part of them', async () => {
    const server = await eurekaServer()
    const all = Array.from({ length: 20 }, (_, index) => 5000 + index)
    const instances = on(server)
    await Promise.all(all.map((port) => instances.register({ service: 'shop', address: '127.0.0.1', port })))
    const seen = following(on(server))
    await vi.waitFor(() => expect(seen.sets.at(-1)).toEqual(all), POLL)
    const before = seen.sets.length
    server.empty()
    await vi.waitFor(() => expect(server.entries('SHOP')).toHaveLength(20), POLL)
    await write(server, 6000)
    await vi.waitFor(() => expect(seen.sets.at(-1)).toEqual([...all, 6000]), POLL)
    expect(seen.sets.slice(before).filter((set) => set!.length < 20)).toEqual([])
  })

  it('one that preserves itself tells dead instances for living ones: requests go to those that answer', async () => {
    const backend = createServer((_, response) => response.end('ok'))
    await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      backend.closeAllConnections()
      backend.close()
    })
    const server = await eurekaServer()
    server.mode = 'preserving'
    const { port } = backend.address() as AddressInfo
    // Nobody listens at this address of the loopback.
    expect(await server.ask('POST', '/apps/SHOP', written(port, { instanceId: 'dead', ipAddr: '127.0.0.9' }))).toBe(204)
    await write(server, port)
    const client = on(server, { preferIpAddress: true }).client('shop')
    for (let request = 0; request < 40; request++) expect(await (await client.fetch('/')).text()).toBe('ok')
  })
})

describe('signs of life', () => {
  it('come once in each interval, as servers count on it', async () => {
    const server = await eurekaServer()
    await on(server).register({ service: 'shop', address: '127.0.0.1', port: 7, check: { ttlMs: 1000 } })
    const renewals = () => server.requests.filter((line) => line.startsWith('PUT')).length
    const startedAt = performance.now()
    await vi.waitFor(() => expect(renewals()).toBe(4), POLL)
    expect(performance.now() - startedAt).toBeGreaterThan(3500)
  })

  it('of many instances need few connections', async () => {
    const server = await eurekaServer()
    const discovery = on(server, { timeoutMs: 5000, leaseMs: 90_000 })
    const ports = Array.from({ length: 50 }, (_, index) => 5000 + index)
    const all = await Promise.all(ports.map((port) => discovery.register({ service: 'shop', address: '127.0.0.1', port })))
    await vi.waitFor(() => expect(all.every(({ registered }) => registered)).toBe(true), POLL)
    await vi.waitFor(async () => expect(await server.connections()).toBeLessThanOrEqual(8), POLL)
  })

  it('end with the process: the lease runs out', async () => {
    const server = await eurekaServer()
    await write(server, 1)
    expect(await server.ask('POST', '/apps/SHOP', written(2, { leaseInfo: { durationInSecs: 1 } }))).toBe(204)
    const seen = following(on(server))
    await vi.waitFor(() => expect(seen.sets.at(-1)).toEqual([1]), POLL)
  })

  it('an entry that a faster clock wrote gives way', async () => {
    const server = await eurekaServer()
    const id = 'shop:7'
    const ahead = written(1, { instanceId: id, lastDirtyTimestamp: String(Date.now() + 3_600_000) })
    expect(await server.ask('POST', '/apps/SHOP', ahead)).toBe(204)
    const registration = await on(server).register({ id, service: 'shop', address: '127.0.0.1', port: 7 })
    await vi.waitFor(() => expect(server.entries('SHOP')).toMatchObject([{ port: { $: 7 } }]), POLL)
    await vi.waitFor(() => expect(registration.registered).toBe(true), POLL)
  })

  it('carry the authorization, asked for anew each time', async () => {
    const seen: unknown[] = []
    const server = createServer((request, response) => {
      seen.push(request.headers.authorization)
      response.end('{"applications":{"apps__hashcode":"","application":[]}}')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      server.closeAllConnections()
      server.close()
    })
    let asked = 0
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/eureka/`
    const discovery = createDiscovery({
      registry: eureka({ urls: [url], ...fast, authorization: () => ({ reveal: () => `Bearer ${++asked}` }) }),
    })
    onTestFinished(() => discovery.close())
    discovery.watch('shop', () => {})
    await vi.waitFor(() => expect(seen.slice(0, 2)).toEqual(['Bearer 1', 'Bearer 2']), POLL)
  })
})

describe('what other clients write', () => {
  const info = { instanceId: 'i', hostName: 'shop-1.internal', ipAddr: '10.0.0.1', port: { $: '8080', '@enabled': 'true' } }

  it.each<[string, object, boolean, object]>([
    ['a port as text', {}, false, { id: 'i', address: 'shop-1.internal', port: 8080 }],
    ['the address, if it is preferred', {}, true, { id: 'i', address: '10.0.0.1', port: 8080 }],
    ['a host name that is none', { hostName: 'http://x/y' }, false, { id: 'i', address: '10.0.0.1', port: 8080 }],
    ['no id', { instanceId: undefined }, false, { id: 'shop-1.internal', address: 'shop-1.internal', port: 8080 }],
    [
      'a Java class among the metadata',
      { metadata: { '@class': 'java.util.Collections$EmptyMap' } },
      false,
      { id: 'i', address: 'shop-1.internal', port: 8080 },
    ],
    ['a weight that is none', { metadata: { weight: '-1' } }, false, { id: 'i', address: 'shop-1.internal', port: 8080 }],
    [
      'the secure port only',
      { port: { $: 80, '@enabled': false }, securePort: { $: 8443, '@enabled': true } },
      false,
      { id: 'i', address: 'shop-1.internal', port: 8443, meta: { scheme: 'https' } },
    ],
  ])('%s', (_, more, preferIpAddress, expected) => {
    expect(toInstance({ ...info, ...more }, 'shop', preferIpAddress)).toEqual({ service: 'shop', ...expected })
  })

  it('one entry instead of a list', () => {
    const answer = { applications: { apps__hashcode: 'UP_1_', application: { name: 'SHOP', instance: { ...info, status: 'UP' } } } }
    expect(Applications.of(answer).entriesOf('shop')).toHaveLength(1)
  })

  it.each([null, [], {}, { application: [null] }, { application: [{ name: 'SHOP' }] }, { application: [{ instance: [null, 5] }] }])(
    'nothing in %j',
    (applications) => {
      expect(Applications.of({ applications: applications as object }).entriesOf('shop')).toEqual([])
    },
  )
})

it.each<[string, object]>([
  ['urls', { urls: [] }],
  ['urls', { urls: 'http://127.0.0.1:8761/eureka' }],
  ['urls', { urls: ['127.0.0.1:8761'] }],
  ['urls', { urls: ['http://user:secret@127.0.0.1:8761/eureka'] }],
  ['fetchIntervalMs', { fetchIntervalMs: 999 }],
  ['renewalIntervalMs', { renewalIntervalMs: 1500 }],
  ['leaseMs', { leaseMs: 30_000 }],
  ['serverCacheMs', { serverCacheMs: -1 }],
  ['timeoutMs', { timeoutMs: 0 }],
  ['preferIpAddress', { preferIpAddress: 'yes' }],
  ['eureka.zone', { zone: 'a' }],
])('refuses a wrong %s', (option, options) => {
  const refused = (): unknown => eureka({ urls: ['http://127.0.0.1:8761/eureka'], ...options })
  expect(refused).toThrow(expect.objectContaining({ code: 'ERR_DISCOVERY_OPTION', option }) as Error)
  expect(refused).not.toThrow('secret')
})
