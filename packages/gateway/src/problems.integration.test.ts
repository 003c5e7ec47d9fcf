import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import {
  type EchoService,
  echoService,
  type Issuer,
  identityIssuer,
  nginxPrograms,
  type Run,
  runGateway,
  settableDiscovery,
} from './gateway-run.fixture.ts'

const routes = (issuer: string, keyless: string) => `
listeners: [{{listen}}]
services: { films: {}, nobody: {}, cut: {}, silent: {} }
identityProviders:
  customers: { issuer: '${issuer}', audience: film-store, jwksUri: '${issuer}/keys', algorithms: [ES256] }
  keyless: { issuer: '${keyless}', audience: film-store, jwksUri: '${keyless}/keys', algorithms: [ES256] }
routes:
  - { name: films, matches: [{ path: { value: /films }, method: GET }], auth: public, backendRefs: [{ name: films }] }
  - { name: small, matches: [{ path: { value: /small } }], auth: public, backendRefs: [{ name: films }], maxBodyBytes: 1000 }
  - { name: nobody, matches: [{ path: { value: /nobody } }], auth: public, backendRefs: [{ name: nobody }] }
  - { name: orders, matches: [{ path: { value: /orders } }], auth: { jwt: customers, scopes: [more] }, backendRefs: [{ name: films }] }
  - { name: keyless, matches: [{ path: { value: /keyless } }], auth: { jwt: keyless }, backendRefs: [{ name: films }] }
  - { name: cut, matches: [{ path: { value: /cut } }], auth: public, backendRefs: [{ name: cut }] }
  - name: silent
    matches: [{ path: { value: /silent } }]
    auth: public
    backendRefs: [{ name: silent }]
    timeouts: { backendRequestMs: 300 }
    retry: { maxAttempts: 1 }
  - name: few
    matches: [{ path: { value: /few } }]
    auth: public
    backendRefs: [{ name: films }]
    rateLimit: { requests: 1, periodMs: 3600000, by: ip }
`

/** Hangs up, or says nothing, where it is asked for just that. */
async function unwellService() {
  const server = createServer((request, response) => {
    if (request.url === '/cut') request.socket.destroy()
    else if (request.url !== '/silent') response.end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = () => {
    server.closeAllConnections()
    server.close()
  }
  return { port: (server.address() as AddressInfo).port, close }
}

const inAnHour: unknown = expect.stringMatching(/^3[56]\d\d$/)
const body = (bytes: number) => ({ method: 'POST', body: 'x'.repeat(bytes) })
const unannounced = (bytes: number) => ({ method: 'POST', body: new Blob(['x'.repeat(bytes)]).stream(), duplex: 'half' as const })
const large = (count: number, bytes: number) => ({
  headers: Object.fromEntries(Array.from({ length: count }, (_, n) => [`x-large-${n}`, 'x'.repeat(bytes)])),
})

describe.each([
  ['the newest nginx', { nginx: nginxPrograms.newest }],
  ['an older nginx', { nginx: nginxPrograms.older, endpoints: 'reload' as const }],
])('what %s says by itself is a problem', (_name, options) => {
  let films: EchoService
  let unwell: Awaited<ReturnType<typeof unwellService>>
  let issuer: Issuer
  let keyless: Issuer
  let run: Run
  beforeAll(async () => {
    ;[films, unwell, issuer, keyless] = [await echoService('films'), await unwellService(), await identityIssuer(), await identityIssuer()]
    keyless.answer = () => ({ status: 500, body: '' })
    const discovery = settableDiscovery({ films: [films.port], nobody: [], cut: [unwell.port], silent: [unwell.port] })
    run = await runGateway(routes(issuer.url, keyless.url), { discovery, ...options })
    for (const [path, status] of [
      ['/films', 200],
      ['/nobody', 503],
      ['/cut/ready', 200],
      ['/silent/ready', 200],
    ] as const)
      await vi.waitUntil(async () => (await fetch(run.url + path)).status === status, { timeout: 20_000 })
    await fetch(`${run.url}/few`)
  }, 60_000)
  afterAll(async () => {
    await run?.[Symbol.asyncDispose]()
    await films?.[Symbol.asyncDispose]()
    unwell?.close()
    await issuer?.[Symbol.asyncDispose]()
    await keyless?.[Symbol.asyncDispose]()
  })

  const token = async (of: Issuer) => ({ headers: { authorization: `Bearer ${await of.sign()}` } })
  it.each<
    [
      title: string,
      what: string,
      status: number,
      headers: Record<string, unknown>,
      path: string,
      how?: () => RequestInit | Promise<RequestInit>,
    ]
  >([
    ['Bad Request', 'a refused path', 400, {}, '/films/%2e%2e%2fx'],
    ['Unauthorized', 'no token', 401, { 'www-authenticate': 'Bearer' }, '/orders'],
    ['Forbidden', 'a scope too few', 403, { 'www-authenticate': 'Bearer error="insufficient_scope"' }, '/orders', () => token(issuer)],
    ['Not Found', 'no route', 404, {}, '/nowhere'],
    ['Method Not Allowed', 'another method', 405, { allow: 'GET, HEAD' }, '/films', () => body(1)],
    ['Content Too Large', 'an announced body', 413, {}, '/small', () => body(1_001)],
    ['Content Too Large', 'a body of unknown length', 413, {}, '/small', () => unannounced(1_001)],
    ['URI Too Long', 'a long path', 414, {}, `/films/${'x'.repeat(9_000)}`],
    ['Too Many Requests', 'a second request', 429, { 'retry-after': inAnHour, 'ratelimit-policy': '"few";q=1;w=3600' }, '/few'],
    ['Request Header Fields Too Large', 'a long header', 431, {}, '/films', () => large(1, 9_000)],
    ['Request Header Fields Too Large', 'many headers', 431, {}, '/films', () => large(8, 7_000)],
    ['Bad Gateway', 'a service that hangs up', 502, {}, '/cut', () => body(1)],
    ['Service Unavailable', 'no instance', 503, { 'retry-after': '1' }, '/nobody'],
    ['Service Unavailable', 'no keys of the identity provider', 503, { 'retry-after': '1' }, '/keyless', () => token(keyless)],
    ['Gateway Timeout', 'a service that is silent', 504, {}, '/silent'],
  ])('%s: %s is %d', async (title, _what, status, expected, path, how = () => ({})) => {
    const answer = await fetch(`${run.url}${path}`, await how())
    const problem = (await answer.json()) as Record<string, unknown>
    expect(problem).toMatchObject({ type: 'about:blank', title, status })
    expect(answer.status).toBe(status)
    const headers = Object.fromEntries(answer.headers)
    expect(headers).toMatchObject({ 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...expected })
    // By it the answer is found in the log.
    expect(headers['x-request-id']).toMatch(/^[0-9a-f]{32}$/)
    expect([undefined, headers['x-request-id']]).toContain(problem['requestId'])
    const allowed = ['type', 'title', 'status', 'detail', 'requestId']
    expect(Object.keys(problem).filter((member) => !allowed.includes(member))).toEqual([])
  })
})
