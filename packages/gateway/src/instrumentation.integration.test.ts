import { once } from 'node:events'
import { appendFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type Attributes, createNoopMeter, type Meter, metrics } from '@opentelemetry/api'
import { expect, it, onTestFinished } from 'vitest'
import { echoService, identityIssuer, rawRequest, runGateway, settableDiscovery } from './gateway-run.fixture.ts'
import { logName } from './log-file.ts'

const routes = (customers: string, staff: string, ratio: number) => `
listeners: [{{listen}}]
traceSampleRatio: ${ratio}
services: { films: {}, slow: {} }
identityProviders:
  customers: { issuer: '${customers}', audience: film-store, jwksUri: '${customers}/keys', algorithms: [ES256] }
  staff: { issuer: '${staff}', audience: film-store, jwksUri: '${staff}/keys', algorithms: [ES256] }
routes:
  - { name: films, matches: [{ path: { value: /films }, method: GET }], auth: public, backendRefs: [{ name: films }] }
  - { name: slow, matches: [{ path: { value: /slow } }], auth: public, backendRefs: [{ name: slow }] }
  - { name: orders, matches: [{ path: { value: /orders } }], auth: { jwt: customers, scopes: ['orders:write'] }, backendRefs: [{ name: films }] }
  - { name: desk, matches: [{ path: { value: /desk } }], auth: { jwt: staff }, backendRefs: [{ name: films }] }
  - name: few
    matches: [{ path: { value: /few } }]
    auth: public
    backendRefs: [{ name: films }]
    rateLimit: { requests: 2, periodMs: 3600000, by: ip }
`

const series = (name: string, attributes: Attributes = {}) =>
  [
    name,
    ...Object.entries(attributes)
      .map(([label, value]) => `${label}=${String(value)}`)
      .toSorted(),
  ].join(' ')

/** The API's side of an SDK: what this package records, by series. */
function recorder() {
  const recorded = new Map<string, number[]>()
  const noteOf =
    (name: string) =>
    (value: number, attributes?: Attributes): void => {
      const key = series(name, attributes)
      const values = recorded.get(key) ?? []
      recorded.set(key, values)
      values.push(value)
    }
  const meter = {
    createCounter: (name: string) => ({ add: noteOf(name) }),
    createHistogram: (name: string) => ({ record: noteOf(name) }),
  } as unknown as Meter
  metrics.setGlobalMeterProvider({ getMeter: (scope) => (scope === '@platform/gateway' ? meter : createNoopMeter()) })
  onTestFinished(() => metrics.disable())
  const values = (key: string): readonly number[] => recorded.get(key) ?? []
  /** Of a histogram how many there were, of a counter their sum. */
  const total = (key: string): number => (key.startsWith('http.') ? values(key).length : values(key).reduce((sum, value) => sum + value, 0))
  return { values, total, totals: () => Object.fromEntries([...recorded.keys()].map((key) => [key, total(key)])) }
}

/** Answers after this time. */
async function slowService(afterMs: number) {
  const server = createServer((_request, response) => void setTimeout(() => response.end(), afterMs))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

it('tells what was asked, how long it took and what became of it, under labels that no client can add to', {
  timeout: 90_000,
}, async () => {
  const measured = recorder()
  await using customers = await identityIssuer()
  await using staff = await identityIssuer()
  staff.answer = () => ({ status: 500, body: '' })
  await using films = await echoService('films')
  const discovery = settableDiscovery({ films: [films.port], slow: [await slowService(300)] })
  const text = (ratio: number) => routes(customers.url, staff.url, ratio)
  await using run = await runGateway(text(1), { discovery })

  const expected: Record<string, number> = {}
  const count = (key: string, by = 1) => void (expected[key] = (expected[key] ?? 0) + by)
  let asked = 0
  const durationOf = (route: string, method: string, status: number) =>
    series('http.server.request.duration', { 'http.request.method': method, 'http.route': route, 'http.response.status_code': status })
  const ask = async (
    route: string,
    path: string,
    { method = 'GET', label = method, host = 'a', headers = '' }: { method?: string; label?: string; host?: string; headers?: string } = {},
  ) => {
    const head = `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n${headers}Connection: close\r\n\r\n`
    const { status } = await rawRequest(run.port, head)
    asked++
    count(durationOf(route, label, status))
    return status
  }
  const verdictOn = async (outcome: string, route: string, token?: string) => {
    count(series('platform.gateway.verdicts', { route, outcome }))
    return ask(route, `/${route}`, { headers: token === undefined ? '' : `Authorization: Bearer ${token}\r\n` })
  }
  for (const route of ['films', 'slow']) await expect.poll(() => ask(route, `/${route}`), { timeout: 20_000 }).toBe(200)

  for (const host of ['one.example', 'two.example']) expect(await ask('films', `/films/${host}?q=1`, { host })).toBe(200)
  expect(await ask('films', '/films', { method: 'HEAD' })).toBe(200)
  expect(await ask('none', '/films', { method: 'POST' })).toBe(405)
  for (const method of ['BREW', 'MAKE_TEA', 'X-ANY']) expect(await ask('none', '/films', { method, label: '_OTHER' })).toBe(405)
  for (const path of ['/nowhere', '/films.php', '/_platform/verify']) expect(await ask('none', path)).toBe(404)
  expect(await ask('none', '/films/%2e%2e/x')).toBe(400)

  const good = await customers.sign()
  for (const token of [good, good, await customers.sign({ sub: 'another' })]) expect(await verdictOn('allowed', 'orders', token)).toBe(200)
  expect(await verdictOn('token_missing', 'orders')).toBe(401)
  expect(await verdictOn('token_malformed', 'orders', 'no token at all')).toBe(401)
  expect(await verdictOn('token_invalid', 'orders', await customers.sign({}, { audience: 'other' }))).toBe(401)
  const lastHour = Math.floor(Date.now() / 1000) - 3600
  expect(await verdictOn('token_expired', 'orders', await customers.sign({}, { expires: lastHour }))).toBe(401)
  expect(await verdictOn('scope_missing', 'orders', await customers.sign({ scope: 'other' }))).toBe(403)
  expect(await verdictOn('keys_unavailable', 'desk', await staff.sign())).toBe(503)
  for (const [outcome, status] of [
    ['allowed', 200],
    ['allowed', 200],
    ['rate_limited', 429],
  ] as const)
    expect(await verdictOn(outcome, 'few')).toBe(status)

  const traces = (sampled: boolean) => series('platform.gateway.traces', { sampled })
  await expect.poll(() => measured.total(traces(true)), { timeout: 20_000 }).toBe(asked)
  expect(measured.total(traces(false))).toBe(0)

  count(series('platform.gateway.reloads', { outcome: 'taken' }))
  const secure = `{{listen}}, { port: 8443, tls: { certificateFile: /none.pem, keyFile: /none.key } }`
  run.write(text(1).replace('{{listen}}', secure))
  await expect(run.gateway.apply()).rejects.toMatchObject({ code: 'ERR_GATEWAY_NGINX' })
  count(series('platform.gateway.reloads', { outcome: 'refused' }))
  // The one before is given to nginx once more.
  count(series('platform.gateway.reloads', { outcome: 'taken' }))
  run.write(text(0))
  await run.gateway.apply()
  count(series('platform.gateway.reloads', { outcome: 'taken' }))
  const unsampled = async () => {
    expect(await ask('films', '/films')).toBe(200)
    return measured.total(traces(false))
  }
  await expect.poll(unsampled, { timeout: 20_000 }).toBeGreaterThan(0)

  appendFileSync(join(run.folder, logName), 'this is no line of nginx\n')
  count('platform.gateway.log_lines.unread')
  count(series('platform.gateway.key.fetches', { provider: 'customers', outcome: 'answered' }), customers.fetches)
  count(series('platform.gateway.key.fetches', { provider: 'staff', outcome: 'failed' }), staff.fetches)
  // Each request is told once: nothing else is there, under no other label.
  const others = () => Object.fromEntries(Object.entries(measured.totals()).filter(([key]) => !key.startsWith('platform.gateway.traces')))
  await expect.poll(others, { timeout: 20_000 }).toEqual(expected)
  expect(measured.total(traces(true)) + measured.total(traces(false))).toBe(asked)
  const seconds = measured.values(durationOf('slow', 'GET', 200))
  expect(Math.min(...seconds)).toBeGreaterThan(0.25)
  expect(Math.max(...seconds)).toBeLessThan(30)
})
