import { Agent } from 'node:http'
import { freePort } from '@platform/stack'
import { expect, it, onTestFinished } from 'vitest'
import { echoService, runGateway, settableDiscovery } from './gateway-run.fixture.ts'
import { counted, openLoop, statusOf } from './open-loop.fixture.ts'

const routes = `
listeners: [{{listen}}]
services: { films: {} }
routes:
  - name: films
    matches: [{ path: { value: /films } }]
    auth: public
    backendRefs: [{ name: films }]
    retry: { nonIdempotent: true }
`

it('200 changes of the set in ten seconds, dead instances in it as well: no request fails', { timeout: 90_000 }, async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  onTestFinished(() => agent.destroy())
  await using first = await echoService('films', 1)
  await using second = await echoService('films', 2)
  await using third = await echoService('films', 3)
  await using fourth = await echoService('films', 4)
  const alive = [first, second, third, fourth].map(({ port }) => port)
  const dead = [await freePort(), await freePort()]
  const discovery = settableDiscovery({ films: alive })
  await using run = await runGateway(routes, { discovery })
  await expect.poll(() => statusOf(`${run.url}/films`, { agent }), { timeout: 20_000 }).toBe(200)
  const load = openLoop(300, 12_000, (index) => statusOf(`${run.url}/films`, { agent, method: index % 3 === 0 ? 'POST' : 'GET' }))
  let change = 0
  const changing = setInterval(() => {
    if (++change > 200) return clearInterval(changing)
    // Two to four that live, and one that does not.
    discovery.say('films', [...alive.filter((_, place) => (change >> place) % 2 === 0 || place < 2), dead[change % 2]!])
  }, 50)
  onTestFinished(() => clearInterval(changing))
  expect(counted(await load)).toEqual({ 200: 3_600 })
  expect(change).toBeGreaterThanOrEqual(200)
})
