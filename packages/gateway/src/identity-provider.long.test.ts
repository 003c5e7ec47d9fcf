import { Agent } from 'node:http'
import { expect, it, onTestFinished } from 'vitest'
import { echoService, identityIssuer, runGateway, settableDiscovery } from './gateway-run.fixture.ts'
import { openLoop, statusOf } from './open-loop.fixture.ts'

it('an identity provider may be away for long: its keys serve, and new ones are taken when it is back', { timeout: 180_000 }, async () => {
  await using service = await echoService('films')
  await using issuer = await identityIssuer()
  const text = `
listeners: [{{listen}}]
services: { films: {} }
identityProviders:
  customers: { issuer: '${issuer.url}', audience: film-store, jwksUri: '${issuer.url}/keys', algorithms: [ES256] }
routes:
  - { name: films, matches: [{ path: { value: /films } }], auth: { jwt: customers }, backendRefs: [{ name: films }] }
`
  await using run = await runGateway(text, { discovery: settableDiscovery({ films: [service.port] }) })
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  onTestFinished(() => agent.destroy())
  const ask = async (token: string) => statusOf(`${run.url}/films`, { agent, headers: { authorization: `Bearer ${token}` } })
  await expect.poll(async () => ask(await issuer.sign()), { timeout: 20_000 }).toBe(200)
  issuer.answer = () => ({ status: 503, body: '' })
  const fetched = issuer.fetches
  const startedAt = performance.now()
  // Each token is new to the verifier, and every tenth names a key that nobody has.
  const statuses = await openLoop(20, 60_000, async (index) =>
    ask(await issuer.sign({ sub: `customer-${index}` }, index % 10 === 0 ? { kid: 'none' } : {})),
  )
  statuses.forEach((status, index) => expect([index, status]).toEqual([index, index % 10 === 0 ? 401 : 200]))
  const cooldowns = (performance.now() - startedAt) / 10_000
  expect(issuer.fetches - fetched).toBeLessThanOrEqual(Math.ceil(cooldowns) + 1)
  const old = await issuer.sign()
  await issuer.rotate()
  issuer.answer = (keys) => ({ status: 200, body: JSON.stringify(keys) })
  await expect.poll(async () => ask(await issuer.sign()), { timeout: 30_000, interval: 250 }).toBe(200)
  expect(await ask(old)).toBe(401)
})
