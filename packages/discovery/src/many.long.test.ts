import { createServer } from 'node:http'
import { connect, createServer as createTcpServer, type AddressInfo } from 'node:net'
import { faultProxy, startConsul } from '@platform/stack'
import { expect, it, onTestFinished, vi } from 'vitest'
import { settableRegistry } from './dns/settable-registry.fixture.ts'
import { createDiscovery, type Instance } from './index.ts'
import { consul } from './registries/consul.ts'

const POLL = { timeout: 120_000, interval: 100 }
const MINUTES = 300_000
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** One address with an agent behind it, another one, or none. */
async function switchboard(first: string) {
  let target: URL | undefined = new URL(first)
  const cuts = new Set<() => void>()
  const server = createTcpServer((near) => {
    if (target === undefined) {
      near.destroy()
      return
    }
    const far = connect(Number(target.port), target.hostname)
    const cut = (): void => {
      near.destroy()
      far.destroy()
      cuts.delete(cut)
    }
    cuts.add(cut)
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', cut).on('close', cut)
      from.pipe(to)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const pointTo = (url: string | undefined): void => {
    target = url === undefined ? undefined : new URL(url)
    for (const cut of cuts) cut()
  }
  onTestFinished(() => {
    pointTo(undefined)
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, pointTo }
}

async function agent(): Promise<string> {
  const server = await startConsul({ fresh: true })
  onTestFinished(() => server.stop())
  return server.url
}

it.each([1000, 10_000])(
  '500 instances are back in an agent that lost them and was away for %d ms, with its own limits, and no watcher saw a part of them',
  { timeout: MINUTES },
  async (awayMs) => {
    const [before, after] = [await agent(), await agent()]
    const { url, pointTo } = await switchboard(before)
    const server = createDiscovery({ registry: consul({ url, waitMs: 1000 }) })
    const watcher = createDiscovery({ registry: consul({ url, waitMs: 1000 }) })
    onTestFinished(async () => {
      await watcher.close()
      await server.close({ timeoutMs: 30_000 })
    })
    const count = 500
    const all = Array.from({ length: count }, (_, index) => 5000 + index)
    await Promise.all(all.map((port) => server.register({ service: 'shop', address: '127.0.0.1', port, check: { ttlMs: 30_000 } })))
    const sizes: number[] = []
    watcher.watch('shop', (instances) => sizes.push(instances.length))
    await vi.waitFor(() => expect(sizes.at(-1)).toBe(count), POLL)
    sizes.length = 0
    pointTo(undefined)
    await wait(awayMs)
    const backAt = performance.now()
    pointTo(after)
    const passing = async () => ((await (await fetch(`${after}/v1/health/service/shop?passing`)).json()) as unknown[]).length
    await vi.waitFor(async () => expect(await passing()).toBe(count), POLL)
    console.log(`away ${awayMs} ms: all back after ${((performance.now() - backAt) / 1000).toFixed(1)} s`)
    await vi.waitFor(async () => expect(await watcher.check()).toBeUndefined(), POLL)
    await wait(6000)
    expect(Math.min(count, ...sizes)).toBe(count)
  },
)

it('a watch in a black hole does not end: the set stays, and what changed is there once the network is back', {
  timeout: MINUTES,
}, async () => {
  const url = await agent()
  const proxy = await faultProxy(url)
  const server = createDiscovery({ registry: consul({ url }) })
  const watcher = createDiscovery({ registry: consul({ url: proxy.url, waitMs: 2000 }) })
  onTestFinished(async () => {
    await watcher.close()
    await server.close()
    await proxy.close()
  })
  const place = { service: 'shop', address: '127.0.0.1', check: { ttlMs: 60_000 } }
  await server.register({ ...place, port: 1 })
  const seen: number[][] = []
  watcher.watch('shop', (instances) => seen.push(instances.map(({ port }) => port)))
  await vi.waitFor(() => expect(seen).toEqual([[1]]), POLL)
  proxy.silence()
  await server.register({ ...place, port: 2 })
  await vi.waitFor(() => expect(watcher.stats().services['shop']).toEqual({ instances: 1, stale: true }), POLL)
  await wait(20_000)
  proxy.restore()
  await vi.waitFor(() => expect(seen).toEqual([[1], [1, 2]]), POLL)
  await vi.waitFor(async () => expect(await watcher.check()).toBeUndefined(), POLL)
})

it('a request meets no error while an instance flaps in the registry for half a minute', { timeout: MINUTES }, async () => {
  const servers = await Promise.all(
    [0, 1, 2].map(async () => {
      const server = createServer((_, response) => void setTimeout(() => response.end('ok'), 5))
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      onTestFinished(() => void server.close())
      return { address: '127.0.0.1', port: (server.address() as AddressInfo).port }
    }),
  )
  const registry = settableRegistry()
  registry.set('shop', servers)
  const discovery = createDiscovery({ registry: registry.driver })
  onTestFinished(() => discovery.close())
  const client = discovery.client('shop', { policy: {} })
  await client.ready()
  let running = true
  let [good, bad] = [0, 0]
  const callers = Array.from({ length: 8 }, async () => {
    while (running) {
      const failed = await client.fetch('/').then(
        async (response) => (await response.text()) !== 'ok',
        () => true,
      )
      if (failed) bad++
      else good++
    }
  })
  for (let flap = 0; flap < 60; flap++) {
    registry.set('shop', flap % 2 === 0 ? servers.slice(1) : servers)
    await wait(500)
  }
  running = false
  await Promise.all(callers)
  expect(bad).toBe(0)
  expect(good).toBeGreaterThan(1000)
  const ejected = client.explain().filter(({ ejectedUntilMs }) => ejectedUntilMs !== undefined)
  expect(ejected).toEqual([])
})

it('10,000 instances of which 1 % change every second: time and memory stay as they are', { timeout: MINUTES }, async () => {
  const registry = settableRegistry()
  const place = (index: number): Omit<Instance, 'id' | 'service'> => ({
    address: `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`,
    port: 3000,
  })
  let next = 10_000
  const set = Array.from({ length: next }, (_, index) => place(index))
  registry.set('shop', set)
  const discovery = createDiscovery({ registry: registry.driver })
  onTestFinished(() => discovery.close())
  const client = discovery.client('shop')
  let changes = 0
  discovery.watch('shop', () => changes++)
  await client.ready()
  const collect = globalThis.gc ?? (() => {})
  const measured: { cpuMs: number; heapMb: number }[] = []
  for (let third = 0; third < 4; third++) {
    const before = process.cpuUsage()
    for (let second = 0; second < 12; second++) {
      for (let one = 0; one < 100; one++) set[Math.floor(Math.random() * set.length)] = place(next++)
      registry.set('shop', set)
      await wait(1000)
    }
    const { user, system } = process.cpuUsage(before)
    collect()
    measured.push({ cpuMs: (user + system) / 12_000, heapMb: process.memoryUsage().heapUsed / 2 ** 20 })
  }
  console.log('per second, and heap', measured)
  const [, second, , fourth] = measured
  expect(changes).toBeGreaterThan(40)
  expect(fourth!.cpuMs).toBeLessThan(second!.cpuMs * 2 + 20)
  expect(fourth!.heapMb).toBeLessThan(second!.heapMb * 1.5 + 20)
})
