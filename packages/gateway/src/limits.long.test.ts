import { Agent } from 'node:http'
import { testRedis } from '@platform/stack/testing'
import { Redis } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import { echoService, runGateway, settableDiscovery } from './gateway-run.fixture.ts'
import { openLoop, statusOf } from './open-loop.fixture.ts'

const forMs = 30_000
const limit = { perSecond: 100, burst: 100 }
const offered = 300

const routes = `
listeners: [{{listen}}]
services: { films: {} }
routes:
  - name: films
    matches: [{ path: { value: /films } }]
    auth: public
    backendRefs: [{ name: films }]
    rateLimit: { requests: ${limit.perSecond}, periodMs: 1000, burst: ${limit.burst}, by: route }
`

it.each([
  ['evenly', 2],
  ['nine to one', 10],
])('a limit over two gateways is kept to two percent, with requests spread %s', { timeout: 120_000 }, async (_how, every) => {
  await using service = await echoService('films')
  await using place = await testRedis()
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  onTestFinished(() => agent.destroy())
  const discovery = settableDiscovery({ films: [service.port] })
  const client = () => {
    const redis = new Redis(place.url, { maxRetriesPerRequest: 1 }).on('error', () => {})
    onTestFinished(() => redis.disconnect())
    return redis
  }
  await using first = await runGateway(routes, { discovery, redis: client() })
  await using second = await runGateway(routes, { discovery, redis: client() })
  const startedAt = performance.now()
  const statuses = await openLoop(offered, forMs, (index) => statusOf(`${index % every === 0 ? second.url : first.url}/films`, { agent }))
  const tookMs = performance.now() - startedAt
  expect(new Set(statuses)).toEqual(new Set([200, 429]))
  const passed = statuses.filter((status) => status === 200).length
  const allowed = limit.burst + (limit.perSecond * tookMs) / 1000
  expect(passed / allowed).toBeGreaterThan(0.98)
  expect(passed / allowed).toBeLessThan(1.02)
})
