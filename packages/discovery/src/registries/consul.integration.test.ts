import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { testConsul } from '@platform/stack/testing'
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { createDiscovery, type Discovery, type Instance } from '../index.ts'
import { describeRegistry } from '../registry-contract.fixture.ts'
import { consul } from './consul.ts'

// A watch under churn reads at most every 15 s, as Consul asks of its clients.
const POLL = { timeout: 60_000, interval: 50 }
vi.setConfig({ testTimeout: 180_000 })
const settled = async (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
const ports = (instances: readonly Instance[]): number[] => instances.map(({ port }) => port)

async function httpServer(handle: RequestListener): Promise<{ url: string; port: number }> {
  const server = createServer(handle)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, port }
}

describe('a real agent', () => {
  let place: Awaited<ReturnType<typeof testConsul>>
  beforeAll(async () => {
    place = await testConsul()
    return () => place.close()
  })

  function discoveryOn(options: { waitMs?: number } = {}): Discovery {
    const discovery = createDiscovery({ registry: consul({ url: place.url, ...options }), emptyConfirmMs: 200 })
    onTestFinished(() => discovery.close())
    return discovery
  }
  const agent = (path: string, json?: object) =>
    fetch(place.url + path, json === undefined ? {} : { method: 'PUT', body: JSON.stringify(json) })

  let sites = 0
  describeRegistry('consul', async () => ({
    driver: consul({ url: place.url }),
    prefix: `${place.prefix}-${++sites}`,
    passing: async (service) =>
      ((await (await agent(`/v1/health/service/${service}?passing`)).json()) as { Service: { Port: number } }[]).map(
        ({ Service }) => Service.Port,
      ),
    lose: async (_, id) => void (await agent(`/v1/agent/service/deregister/${encodeURIComponent(id)}`, {})),
    change: async (service, id, port) =>
      void (await agent('/v1/agent/service/register', { ID: id, Name: service, Address: '127.0.0.1', Port: port })),
  }))

  it('has the agent ask over HTTP and balances requests over what passes', async () => {
    const service = `${place.prefix}-http`
    let healthy = true
    const good = await httpServer((_, response) => response.end('good'))
    const other = await httpServer((request, response) =>
      response.writeHead(request.url === '/health' && !healthy ? 500 : 200).end('other'),
    )
    const server = discoveryOn()
    for (const { port } of [good, other])
      await server.register({ service, address: '127.0.0.1', port, check: { http: '/health', intervalMs: 1000 } })
    const discovery = discoveryOn()
    const client = discovery.client(service)
    await vi.waitFor(async () => expect(await discovery.resolve(service)).toHaveLength(2), POLL)
    const answers = new Set<string>()
    for (let i = 0; i < 40; i++) answers.add(await (await client.fetch('/')).text())
    expect([...answers].sort((a, b) => a.localeCompare(b))).toEqual(['good', 'other'])
    healthy = false
    await vi.waitFor(async () => expect(ports(await discovery.resolve(service))).toEqual([good.port]), POLL)
    for (let i = 0; i < 10; i++) expect(await (await client.fetch('/')).text()).toBe('good')
  })

  it('goes on watching over the end of each wait', async () => {
    const service = `${place.prefix}-wait`
    const [server, client] = [discoveryOn(), discoveryOn({ waitMs: 1000 })]
    await server.register({ service, address: '127.0.0.1', port: 4004 })
    const seen: number[][] = []
    client.watch(service, (instances) => seen.push(ports(instances)))
    await vi.waitFor(() => expect(seen).toEqual([[4004]]), POLL)
    await new Promise((resolve) => setTimeout(resolve, 2500))
    expect(seen).toEqual([[4004]])
    await server.register({ service, address: '127.0.0.1', port: 4005 })
    await vi.waitFor(() => expect(seen.at(-1)).toEqual([4004, 4005]), POLL)
  })
})

describe('an agent that lies', () => {
  const entry = (port: number) => ({
    Node: { Address: '127.0.0.1' },
    Service: { ID: `s${port}`, Service: 's', Address: '', Port: port, Meta: null, Weights: { Passing: 1 } },
  })

  async function against(handle: (query: URLSearchParams, answer: (index: string | undefined, port: number) => void) => void) {
    const queries: (string | null)[] = []
    const { url } = await httpServer((request, response) => {
      const query = new URL(request.url!, 'http://agent').searchParams
      queries.push(query.get('index'))
      handle(query, (index, port) => {
        if (index !== undefined) response.setHeader('x-consul-index', index)
        response.end(JSON.stringify([entry(port)]))
      })
    })
    const discovery = createDiscovery({ registry: consul({ url, waitMs: 1000 }) })
    onTestFinished(() => discovery.close())
    return { discovery, queries }
  }

  it('by an index that falls: starts again from the beginning', async () => {
    const { discovery, queries } = await against((query, answer) => {
      const index = query.get('index')
      if (index === null) answer('100', 1)
      else if (index === '100') answer('7', 2)
      else if (index === '1') answer('8', 3)
    })
    await vi.waitFor(async () => expect(ports(await discovery.resolve('s'))).toEqual([3]), POLL)
    await vi.waitFor(() => expect(queries.slice(0, 4)).toEqual([null, '100', '1', '8']), POLL)
  })

  it('by an index that no number can hold: hands it back as it is', async () => {
    const { discovery, queries } = await against((query, answer) => {
      if (query.get('index') === null) answer('18446744073709551557', 1)
      else if (query.get('index') === '18446744073709551557') answer('18446744073709551559', 2)
    })
    await vi.waitFor(async () => expect(ports(await discovery.resolve('s'))).toEqual([2]), POLL)
    await vi.waitFor(() => expect(queries).toEqual([null, '18446744073709551557', '18446744073709551559']), POLL)
  })

  it.each([400, 403, 404, 429, 500, 503])('by %d in between: keeps what it knew, and goes on', async (status) => {
    let healthy = true
    let reads = 0
    const { url } = await httpServer((request, response) => {
      reads++
      if (!healthy) return void response.writeHead(status).end('no')
      if (request.url!.includes('index=7')) return
      response.setHeader('x-consul-index', '7').end(JSON.stringify([entry(reads)]))
    })
    const discovery = createDiscovery({ registry: consul({ url, waitMs: 1000 }) })
    onTestFinished(() => discovery.close())
    await discovery.resolve('s')
    healthy = false
    await vi.waitFor(() => expect(discovery.stats().services['s']).toMatchObject({ stale: true, instances: 1 }), POLL)
    healthy = true
    await vi.waitFor(() => expect(discovery.stats().services['s']?.stale).toBe(false), POLL)
  })

  it.each([400, 403, 429, 500])('by %d to what was registered: says so, and tries on until it is there', async (status) => {
    let healthy = true
    const entries = new Map<string, unknown>()
    const { url } = await httpServer((request, response) => {
      const path = request.url!.split('?')[0]!
      if (!healthy) return void response.writeHead(status).end('no')
      if (path === '/v1/agent/service/register') entries.set('s', {})
      response.writeHead(entries.size > 0 ? 200 : 404)
      response.end(JSON.stringify({ Service: 's', Address: '127.0.0.1', Port: 1, Meta: {}, Weights: { Passing: 1 } }))
    })
    const discovery = createDiscovery({ registry: consul({ url }) })
    onTestFinished(() => discovery.close())
    const registration = await discovery.register({ service: 's', address: '127.0.0.1', port: 1, check: { ttlMs: 1000 } })
    healthy = false
    await vi.waitFor(() => expect(registration.registered).toBe(false), POLL)
    entries.clear()
    healthy = true
    await vi.waitFor(() => expect([registration.registered, entries.size]).toEqual([true, 1]), POLL)
  })

  it('by an index of 0 or none: does not spin', async () => {
    const { discovery, queries } = await against((_, answer) => answer(queries.length % 2 === 0 ? '0' : undefined, 1))
    await discovery.resolve('s')
    await new Promise((resolve) => setTimeout(resolve, 1000))
    expect(queries.length).toBeLessThan(12)
    expect(new Set(queries.slice(1))).toEqual(new Set(['1']))
  })

  it('by saying no: reports the status, and only retries what can change', async () => {
    const { url } = await httpServer((request, response) => response.writeHead(request.method === 'PUT' ? 403 : 500).end('no'))
    const discovery = createDiscovery({ registry: consul({ url, token: () => 'secret' }) })
    onTestFinished(() => discovery.close())
    expect(await settled(discovery.resolve('s'))).toMatchObject({ code: 'ERR_DISCOVERY_UNAVAILABLE', cause: { status: 500 } })
    expect(await settled(discovery.register({ service: 's', address: '127.0.0.1', port: 1 }))).toMatchObject({
      code: 'ERR_DISCOVERY_REFUSED',
      status: 403,
    })
  })
})

it('sends the token, asked for anew each time', async () => {
  const tokens: unknown[] = []
  const { url } = await httpServer((request, response) => {
    tokens.push(request.headers['x-consul-token'])
    response.setHeader('x-consul-index', '5').end('[]')
  })
  let asked = 0
  const discovery = createDiscovery({ registry: consul({ url, token: () => ({ reveal: () => `token-${++asked}` }) }) })
  onTestFinished(() => discovery.close())
  await discovery.resolve('a')
  await discovery.resolve('b')
  expect(tokens).toContain('token-1')
  expect(new Set(tokens).size).toBe(tokens.length)
})
