import type { RequestListener } from 'node:http'
import { expect, it, onTestFinished, vi } from 'vitest'
import { type Backend, backend, clientOf, settled, statusOf } from './backends.fixture.ts'
import { createDiscovery, type DiscoveryEvent, type Instance, SERVICE_HEADER } from './index.ts'
import { scriptedRegistry } from './scripted-registry.fixture.ts'
import { staticInstances } from './registries/static.ts'

const POLL = { timeout: 15_000, interval: 10 }

/** A process that has the address of one that died, and knows for whom it answers. */
const stranger: RequestListener = (request, response) =>
  response.writeHead(request.headers[SERVICE_HEADER] === 'other' ? 200 : 421).end('421')

/** By its standard, `fetch` asks once more on a new connection when the answer is 421. */
const ASKED_BY_FETCH = 2

const placeOf = ({ url }: Backend): Instance => ({ id: url, service: 'shop', address: '127.0.0.1', port: Number(new URL(url).port) })

it('a request that reaches another service goes on to an instance of its own, whatever it is, and the stranger gets no more', async () => {
  const [other, own] = [await backend(stranger), await backend()]
  const events: DiscoveryEvent[] = []
  const discovery = createDiscovery({
    registry: staticInstances({ shop: [other.url, own.url] }),
    onEvent: (event) => void events.push(event),
  })
  onTestFinished(() => discovery.close({ timeoutMs: 1000 }))
  const client = discovery.client('shop', { policy: {} })
  for (let i = 0; i < 40; i++) expect(await statusOf(client.fetch('/', { method: 'POST', body: 'x' }))).toBe(200)
  expect(other.requests).toHaveLength(ASKED_BY_FETCH)
  expect(own.requests).toHaveLength(40)
  expect(own.requests[0]!.headers[SERVICE_HEADER]).toBe('shop')
  expect(client.explain().map(({ reason }) => reason)).toContain('another service answers there')
  expect(events.filter(({ type }) => type === 'instance-misdirected')).toMatchObject([{ service: 'shop', instance: { id: other.url } }])
})

it('with nobody else to ask the caller is told, after a few', async () => {
  const strangers = await Promise.all(Array.from({ length: 12 }, () => backend(stranger)))
  const asked = () => strangers.reduce((sum, { requests }) => sum + requests.length, 0)
  const client = clientOf(strangers.map(({ url }) => url))
  expect(await statusOf(client.fetch('/'))).toBe(421)
  expect(asked()).toBeLessThanOrEqual(4 * ASKED_BY_FETCH)
  for (let i = 0; i < 4; i++) expect(await statusOf(client.fetch('/'))).toBe(421)
  const before = asked()
  for (let i = 0; i < 10; i++) expect(await statusOf(client.fetch('/'))).toBe(421)
  expect(asked() - before, 'once all are known for strangers one is enough').toBe(10 * ASKED_BY_FETCH)
})

it('a stream that was sent to a stranger is not sent twice', async () => {
  const [other, own] = [await backend(stranger), await backend()]
  const client = clientOf([other.url, own.url], { balancer: 'round-robin' })
  const statuses = new Set<number>()
  for (let i = 0; i < 4; i++) statuses.add(await statusOf(client.fetch('/', { method: 'POST', body: new Blob(['a']).stream() })))
  expect(statuses).toEqual(new Set([421, 200]))
  expect(other.requests).toHaveLength(1)
})

it('a probe finds the stranger before a request does, and that it has gone', async () => {
  const own = await backend()
  let isStranger = true
  const other = await backend((request, response) => void (isStranger ? stranger(request, response) : response.end('ok')))
  const client = clientOf([other.url, own.url], { probe: { path: '/ready', intervalMs: 100 } })
  const reasons = () => client.explain().map(({ reason }) => reason)
  await vi.waitFor(() => expect(reasons()).toContain('another service answers there'), POLL)
  isStranger = false
  await vi.waitFor(() => expect(reasons()).not.toContain('another service answers there'), POLL)
})

it('no request and no open connection goes to the address of an instance that the registry tells no more', async () => {
  const [leaving, staying] = [await backend(), await backend()]
  const { driver, set } = scriptedRegistry()
  set(placeOf(leaving), placeOf(staying))
  const discovery = createDiscovery({ registry: driver })
  onTestFinished(() => discovery.close({ timeoutMs: 1000 }))
  const client = discovery.client('shop')
  await vi.waitFor(async () => {
    await statusOf(client.fetch('/'))
    expect(leaving.requests.length).toBeGreaterThan(0)
  }, POLL)
  const connections = () => new Promise<number>((resolve) => leaving.server.getConnections((_, count) => resolve(count)))
  expect(await connections()).toBeGreaterThan(0)
  set(placeOf(staying))
  await vi.waitFor(async () => expect(await connections()).toBe(0), POLL)
  const before = leaving.requests.length
  for (let i = 0; i < 50; i++) expect(await settled(statusOf(client.fetch('/')))).toBe(200)
  expect(leaving.requests.length).toBe(before)
})
