import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished, vi } from 'vitest'
import { createDiscovery, type DiscoveryEvent, type ProbeOptions } from './index.ts'
import { staticInstances } from './registries/static.ts'

const POLL = { timeout: 15_000, interval: 10 }

async function instance(handle: RequestListener): Promise<string> {
  const server = createServer(handle)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

it('finds what is sick, hung or gone before a request does, and takes it back when it is well', async () => {
  let [sick, hung] = [true, true]
  const asked: (string | undefined)[] = []
  const urls = [
    await instance((request, response) => void (asked.push(request.url), response.end('good'))),
    await instance((_, response) => response.end('good')),
    await instance((_, response) => response.end('good')),
    await instance((_, response) => response.writeHead(sick ? 503 : 204).end()),
    await instance((_, response) => void (hung || response.end('good'))),
    'http://127.0.0.1:1',
  ]
  const events: DiscoveryEvent['type'][] = []
  const discovery = createDiscovery({ registry: staticInstances({ shop: urls }), onEvent: ({ type }) => void events.push(type) })
  onTestFinished(() => discovery.close({ timeoutMs: 1000 }))
  const client = discovery.client('shop', { probe: { path: '/ready', intervalMs: 100 } })
  const failing = (): number => client.explain().filter(({ reason }) => reason === 'fails its probes').length
  await vi.waitFor(() => expect(failing()).toBe(3), POLL)
  for (let i = 0; i < 30; i++) expect(await (await client.fetch('/film')).text()).toBe('good')
  expect(new Set(asked)).toEqual(new Set(['/ready', '/film']))
  sick = hung = false
  await vi.waitFor(() => expect(failing()).toBe(1), POLL)
  expect(events.filter((type) => type === 'instance-ejected')).toHaveLength(3)
  await vi.waitFor(() => expect(events.filter((type) => type === 'instance-back')).toHaveLength(2), POLL)
  await client.close()
  const count = asked.length
  await new Promise((resolve) => setTimeout(resolve, 400))
  expect(asked.length).toBe(count)
})

it.each<[string, object]>([
  ['probe.path', { path: 'ready' }],
  ['probe.path', {}],
  ['probe.intervalMs', { path: '/', intervalMs: 99 }],
  ['probe.timeoutMs', { path: '/', intervalMs: 500, timeoutMs: 501 }],
  ['probe.every', { path: '/', every: 1 }],
])('refuses a wrong %s', async (option, probe) => {
  const discovery = createDiscovery({ registry: staticInstances({}) })
  onTestFinished(() => discovery.close())
  expect(() => discovery.client('shop', { probe: probe as ProbeOptions })).toThrow(expect.objectContaining({ option }) as Error)
})
