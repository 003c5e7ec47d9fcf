import { createServer } from 'node:http'
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net'
import { startConsul } from '@platform/stack'
import { expect, it, onTestFinished, vi } from 'vitest'
import { createDiscovery, type Discovery, type Instance } from '../index.ts'
import { consul } from './consul.ts'

const POLL = { timeout: 90_000, interval: 50 }
const LONG = 240_000
const ports = (instances: readonly Instance[]): number[] => instances.map(({ port }) => port)

async function agent() {
  const server = await startConsul({ fresh: true })
  onTestFinished(() => server.stop())
  return server
}

function discoveryOn(url: string): Discovery {
  const discovery = createDiscovery({ registry: consul({ url, waitMs: 1000 }) })
  onTestFinished(() => discovery.close({ timeoutMs: 3000 }))
  return discovery
}

/** A TCP relay whose target can change: the same address, another agent behind it. */
async function relay(first: string) {
  let target = new URL(first)
  const sockets = new Set<Socket>()
  const server = createTcpServer((near) => {
    const far = connect(Number(target.port), target.hostname)
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.on('error', () => to.destroy()).on('close', () => (sockets.delete(from), to.destroy()))
      from.pipe(to)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cut = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  onTestFinished(() => {
    cut()
    server.close()
  })
  const pointTo = (url: string): void => {
    target = new URL(url)
    cut()
  }
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, pointTo }
}

it(
  'serves on through the death of the agent, and watches and is registered again after its restart',
  async () => {
    const backend = createServer((_, response) => response.end('ok'))
    await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void backend.close())
    const { port } = backend.address() as AddressInfo
    const consulServer = await agent()
    const [server, discovery] = [discoveryOn(consulServer.url), discoveryOn(consulServer.url)]
    const registration = await server.register({ service: 'shop', address: '127.0.0.1', port, check: { ttlMs: 3000 } })
    const client = discovery.client('shop')
    await client.ready()

    await consulServer.kill()
    await vi.waitFor(async () => expect(await discovery.check()).toMatchObject({ status: 'warn' }), POLL)
    await vi.waitFor(() => expect(registration.registered).toBe(false), POLL)
    for (let i = 0; i < 10; i++) expect((await client.fetch('/')).status).toBe(200)

    await consulServer.restart()
    await vi.waitFor(() => expect(registration.registered).toBe(true), POLL)
    await server.register({ service: 'shop', address: '127.0.0.1', port: 1, check: { ttlMs: 3000 } })
    await vi.waitFor(async () => expect(ports(await discovery.resolve('shop'))).toHaveLength(2), POLL)
    expect(ports(await discovery.resolve('shop'))).toContain(port)
    await vi.waitFor(async () => expect(await discovery.check()).toBeUndefined(), POLL)
  },
  LONG,
)

it(
  'starts before its agent: registers, resolves and calls as soon as there is one',
  async () => {
    const backend = createServer((_, response) => response.end('ok'))
    await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void backend.close())
    const { url, pointTo } = await relay('http://127.0.0.1:1')
    const discovery = discoveryOn(url)
    const { port } = backend.address() as AddressInfo
    const registration = await discovery.register({ service: 'shop', address: '127.0.0.1', port, check: { ttlMs: 3000 } })
    const client = discovery.client('shop')
    expect(registration.registered).toBe(false)
    await expect(client.fetch('/')).rejects.toMatchObject({
      code: 'ERR_DISCOVERY_NO_INSTANCE',
      cause: { code: 'ERR_DISCOVERY_UNAVAILABLE' },
    })
    expect(await discovery.check()).toMatchObject({ status: 'warn' })
    pointTo((await agent()).url)
    await vi.waitFor(() => expect(registration.registered).toBe(true), POLL)
    await vi.waitFor(async () => expect(await (await client.fetch('/')).text()).toBe('ok'), POLL)
    expect(await discovery.check()).toBeUndefined()
  },
  LONG,
)

it(
  'registers anew with an agent that came back without its data, whose index begins again',
  async () => {
    const [before, after] = [await agent(), await agent()]
    const { url, pointTo } = await relay(before.url)
    const [server, discovery] = [discoveryOn(url), discoveryOn(url)]
    const registration = await server.register({ service: 'shop', address: '127.0.0.1', port: 4001, check: { ttlMs: 3000 } })
    const seen: number[][] = []
    discovery.watch('shop', (instances) => seen.push(ports(instances)))
    await vi.waitFor(() => expect(seen).toEqual([[4001]]), POLL)

    pointTo(after.url)
    const known = async () => ((await (await fetch(`${after.url}/v1/health/service/shop?passing`)).json()) as unknown[]).length
    await vi.waitFor(async () => expect(await known()).toBe(1), POLL)
    await vi.waitFor(() => expect(registration.registered).toBe(true), POLL)
    await server.register({ service: 'shop', address: '127.0.0.1', port: 4002, check: { ttlMs: 3000 } })
    await vi.waitFor(() => expect(seen.at(-1)).toEqual([4001, 4002]), POLL)
    expect(seen, 'nobody was told of an empty set in between').not.toContainEqual([])
  },
  LONG,
)

it(
  'goes on after an agent that hung without closing its connections',
  async () => {
    const consulServer = await agent()
    const [server, discovery] = [discoveryOn(consulServer.url), discoveryOn(consulServer.url)]
    const registration = await server.register({ service: 'shop', address: '127.0.0.1', port: 4001, check: { ttlMs: 20_000 } })
    await discovery.resolve('shop')
    consulServer.freeze()
    await vi.waitFor(() => expect(discovery.stats().services['shop']).toEqual({ instances: 1, stale: true }), POLL)
    consulServer.thaw()
    await vi.waitFor(() => expect(discovery.stats().services['shop']).toEqual({ instances: 1, stale: false }), POLL)
    await vi.waitFor(() => expect(registration.registered).toBe(true), POLL)
  },
  LONG,
)

it(
  "stays registered beside more watches than an agent allows connections, with Consul's own limits",
  async () => {
    const { url } = await agent()
    const discovery = discoveryOn(url)
    const registration = await discovery.register({ service: 'shop', address: '127.0.0.1', port: 4001, check: { ttlMs: 3000 } })
    for (let i = 0; i < 260; i++) discovery.watch(`service-${i}`, () => {})
    let seen: number[] = []
    discovery.watch('shop', (instances) => (seen = ports(instances)))
    const passing = async () => ((await (await fetch(`${url}/v1/health/service/shop?passing`)).json()) as unknown[]).length
    for (let second = 0; second < 12; second++) {
      await new Promise((resolve) => setTimeout(resolve, 1000))
      expect([await passing(), registration.registered]).toEqual([1, true])
    }
    expect(seen).toEqual([4001])
    await discovery.register({ service: 'shop', address: '127.0.0.1', port: 4002, check: { ttlMs: 3000 } })
    await vi.waitFor(() => expect(seen).toEqual([4001, 4002]), POLL)
  },
  LONG,
)

it.each([0, 3000])(
  '200 instances of one process are back after an agent that lost them was away for %d ms, and no watcher saw a part of them',
  async (awayMs) => {
    const [before, after] = [await agent(), await agent()]
    const { url, pointTo } = await relay(before.url)
    const [server, discovery] = [discoveryOn(url), discoveryOn(url)]
    const count = 200
    const all = Array.from({ length: count }, (_, index) => 5000 + index)
    await Promise.all(all.map((port) => server.register({ service: 'shop', address: '127.0.0.1', port, check: { ttlMs: 10_000 } })))
    const sizes: number[] = []
    discovery.watch('shop', (instances) => sizes.push(instances.length))
    await vi.waitFor(() => expect(sizes.at(-1)).toBe(count), POLL)
    sizes.length = 0
    if (awayMs > 0) {
      pointTo('http://127.0.0.1:1')
      await new Promise((resolve) => setTimeout(resolve, awayMs))
    }
    pointTo(after.url)
    const known = async () => ((await (await fetch(`${after.url}/v1/health/service/shop?passing`)).json()) as unknown[]).length
    await vi.waitFor(async () => expect(await known()).toBe(count), POLL)
    await vi.waitFor(async () => expect(await discovery.check()).toBeUndefined(), POLL)
    expect(Math.min(count, ...sizes)).toBe(count)
  },
  LONG,
)
