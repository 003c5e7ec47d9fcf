import { createSecretKey, randomBytes } from 'node:crypto'
import { testRedis } from '@platform/stack/testing'
import { faultProxy } from '@platform/stack'
import { Redis } from 'ioredis'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import {
  type EchoService,
  echoService,
  identityIssuer,
  type Issuer,
  rawRequest,
  type Run,
  runGateway,
  type Seen,
  settableDiscovery,
} from './gateway-run.fixture.ts'

const routes = (issuer: string, jwksUri = `${issuer}/keys`) => `
listeners: [{{listen}}]
services: { orders: {} }
identityProviders:
  customers: { issuer: '${issuer}', audience: film-store, jwksUri: '${jwksUri}', algorithms: [ES256], identityHeaders: [{ name: x-tenant, claim: tenant }] }
routes:
  - name: orders
    matches: [{ path: { value: /orders } }]
    auth: { jwt: customers, scopes: ['orders:write'] }
    backendRefs: [{ name: orders }]
  - name: kept
    matches: [{ path: { value: /kept } }]
    auth: { jwt: customers, forwardToken: true }
    backendRefs: [{ name: orders }]
  - name: open
    matches: [{ path: { value: /open } }]
    auth: public
    backendRefs: [{ name: orders }]
  - name: few
    matches: [{ path: { value: /few } }]
    auth: { jwt: customers }
    backendRefs: [{ name: orders }]
    rateLimit: { requests: 60, periodMs: 3600000, burst: 20, by: consumer }
  - name: address
    matches: [{ path: { value: /address } }]
    auth: public
    backendRefs: [{ name: orders }]
    rateLimit: { requests: 3, periodMs: 3600000, by: ip }
`
let orders: EchoService
beforeAll(async () => void (orders = await echoService('orders')))
afterAll(async () => orders[Symbol.asyncDispose]())

async function running(issuer: Issuer, options: { redis?: Redis } = {}): Promise<Run> {
  const run = await runGateway(routes(issuer.url), { discovery: settableDiscovery({ orders: [orders.port] }), ...options })
  onTestFinished(() => run[Symbol.asyncDispose]())
  await expect.poll(async () => (await fetch(`${run.url}/open`)).status, { timeout: 20_000 }).toBe(200)
  return run
}
const asking = async (run: Run, path: string, token: string | undefined, headers: Record<string, string> = {}) => {
  const response = await fetch(`${run.url}${path}`, {
    headers: { ...headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
  })
  return { status: response.status, headers: response.headers, body: (await response.json()) as Seen & { detail: string } }
}

describe('tokens', () => {
  it('lets in whom the token names, and tells the service so', { timeout: 60_000 }, async () => {
    await using issuer = await identityIssuer()
    const run = await running(issuer)
    const token = await issuer.sign({ sub: 'Zoë', tenant: 'acme', scope: 'orders:write orders:read' })
    const { status, body, headers } = await asking(run, '/orders', token, { 'x-tenant': 'other', 'x-platform-subject': 'root' })
    expect(status).toBe(200)
    expect(body.headers).toMatchObject({
      'x-platform-subject': 'Zo%C3%AB',
      'x-platform-scopes': 'orders:write orders:read',
      'x-tenant': 'acme',
    })
    expect(body.headers.authorization).toBeUndefined()
    expect(headers.get('server-timing')).toMatch(/^auth;dur=[\d.]+, upstream;dur=\d+$/)
    expect((await asking(run, '/kept', token)).body.headers.authorization).toBe(`Bearer ${token}`)
    const listed = await issuer.sign({ scope: undefined, scp: ['orders:read', 'orders:write'] })
    expect((await asking(run, '/orders', listed)).body.headers['x-platform-scopes']).toBe('orders:read orders:write')
    // On a public route the same names say nothing.
    expect((await asking(run, '/open', token, { 'x-tenant': 'other' })).body.headers['x-tenant']).toBeUndefined()
    await expect.poll(() => run.lines.filter(({ fields }) => fields['path'] === '/orders').length, { timeout: 20_000 }).toBeGreaterThan(0)
    expect(JSON.stringify(run.lines)).not.toContain(token.split('.')[2])
  })

  it('keeps out every other one, with a reason', { timeout: 60_000 }, async () => {
    await using issuer = await identityIssuer()
    await using stranger = await identityIssuer()
    const run = await running(issuer)
    const unsigned = (head: object, claims: object) =>
      [head, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
    const claims = { iss: issuer.url, aud: 'film-store', sub: 'root', scope: 'orders:write', exp: Math.floor(Date.now() / 1000) + 300 }
    const publicText = JSON.stringify((issuer.keys() as { keys: unknown[] }).keys[0])
    const hmac = (key: Uint8Array) => new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid: 'key-1' }).sign(createSecretKey(key))
    const good = await issuer.sign()
    const [head, body, signature] = good.split('.') as [string, string, string]
    const before = orders.seen.length
    const cases: [string, string | undefined, number][] = [
      ['none', undefined, 401],
      ['alg none', `${unsigned({ alg: 'none' }, claims)}.`, 401],
      ['alg none with the signature of another', `${unsigned({ alg: 'none', kid: 'key-1' }, claims)}.${signature}`, 401],
      ['HS256 with the public key as secret', await hmac(Buffer.from(publicText)), 401],
      ['HS256 with any secret', await hmac(randomBytes(32)), 401],
      [
        'a key of its own in the header',
        await new SignJWT(claims)
          .setProtectedHeader({ alg: 'HS256', jwk: { kty: 'oct', k: 'AAAA' } } as never)
          .sign(createSecretKey(randomBytes(32))),
        401,
      ],
      ['another audience', await issuer.sign({}, { audience: 'other' }), 401],
      ['another issuer', await issuer.sign({}, { issuer: 'https://evil.example' }), 401],
      ['not yet', await issuer.sign({ nbf: Math.floor(Date.now() / 1000) + 3600 }), 401],
      ['no longer', await issuer.sign({}, { expires: Math.floor(Date.now() / 1000) - 3600 }), 401],
      ['an unknown key', await issuer.sign({}, { kid: '../../etc/passwd' }), 401],
      ['the key of a stranger under a known name', await stranger.sign({}, { issuer: issuer.url }), 401],
      ['changed claims', `${head}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.${signature}`, 401],
      ['cut', `${head}.${body}`, 401],
      ['no token at all', 'a b c', 401],
      ['without the scope', await issuer.sign({ scope: 'orders:writer' }), 403],
      ['scopes of another type', await issuer.sign({ scope: { 'orders:write': true } }), 401],
      ['without a subject', await issuer.sign({ sub: undefined }), 401],
      ['a subject that is no text', await issuer.sign({ sub: 1 }), 401],
      ['an empty subject', await issuer.sign({ sub: '' }), 401],
      ['a subject too long for a header', await issuer.sign({ sub: 'x'.repeat(2_000) }), 401],
    ]
    for (const [what, token, status] of cases) {
      const answer = await asking(run, '/orders', token)
      expect([what, answer.status]).toEqual([what, status])
      expect([what, answer.headers.get('content-type')]).toEqual([what, 'application/problem+json'])
      expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer/)
      expect(answer.body.detail).toMatch(/\w/)
    }
    const raw = (lines: string) => rawRequest(run.port, `GET /orders HTTP/1.1\r\nHost: a\r\n${lines}\r\nConnection: close\r\n\r\n`)
    expect((await raw(`Authorization: Bearer ${good}\r\nAuthorization: Bearer ${good}`)).status).toBe(400)
    expect((await raw(`Authorization: Bearer ${'x'.repeat(20_000)}`)).status).toBe(431)
    expect((await raw(`Authorization: Basic ${good}`)).status).toBe(401)
    expect((await raw(`Authorization: Bearer ${good} ${good}`)).status).toBe(401)
    expect(orders.seen.length).toBe(before)
  })

  it('tells the audit who asked for what and what came of it, and draws by itself which traces are kept', { timeout: 60_000 }, async () => {
    await using issuer = await identityIssuer()
    const records: Record<string, unknown>[] = []
    const note = (fields: object) => void records.push({ ...fields })
    const audit = { debug: note, info: note, warn: note, error: note }
    const discovery = settableDiscovery({ orders: [orders.port] })
    await using run = await runGateway(`${routes(issuer.url)}traceSampleRatio: 0\n`, { discovery, audit })
    await expect.poll(async () => (await fetch(`${run.url}/open`)).status, { timeout: 20_000 }).toBe(200)
    const sampled = { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` }
    const { body } = await asking(run, '/orders/7?card=4111', await issuer.sign({ sub: 'me' }), sampled)
    expect(body.headers['traceparent']).toMatch(/-00$/)
    expect((await asking(run, '/orders/8', await issuer.sign({ sub: 'me', scope: '' }))).status).toBe(403)
    expect((await asking(run, '/orders/9', undefined)).status).toBe(401)
    await expect.poll(() => records.length, { timeout: 20_000 }).toBe(3)
    const about = { client: '127.0.0.1', method: 'GET', route: 'orders', request_id: expect.stringMatching(/^[0-9a-f]{32}$/) }
    expect(records).toEqual([
      { ...about, subject: 'me', path: '/orders/7', outcome: 'allowed', status: 200 },
      { ...about, subject: 'me', path: '/orders/8', outcome: 'scope_missing', status: 403 },
      { ...about, subject: '', path: '/orders/9', outcome: 'token_missing', status: 401 },
    ])
  })

  it('outlives its identity provider, takes new keys, and is not made to ask for them', { timeout: 60_000 }, async () => {
    await using issuer = await identityIssuer()
    const run = await running(issuer)
    const fetched = issuer.fetches
    expect(fetched).toBe(1)
    const old = await issuer.sign()
    expect((await asking(run, '/orders', old)).status).toBe(200)
    const flood = await Promise.all(
      Array.from({ length: 100 }, async (_, n) => asking(run, '/orders', await issuer.sign({}, { kid: `none-${n}` }))),
    )
    expect(new Set(flood.map(({ status }) => status))).toEqual(new Set([401]))
    expect(issuer.fetches - fetched).toBeLessThanOrEqual(1)
    for (const answer of [
      () => ({ status: 500, body: '' }),
      () => ({ status: 200, body: '{"keys":[]}' }),
      () => ({ status: 200, body: '<html>' }),
    ]) {
      issuer.answer = answer
      expect((await asking(run, '/orders', await issuer.sign({ sub: `after ${answer().body}` }))).status).toBe(200)
    }
    issuer.answer = (keys) => ({ status: 200, body: JSON.stringify(keys) })
    await issuer.rotate()
    // The cooldown after the flood has to pass.
    await expect.poll(async () => (await asking(run, '/orders', await issuer.sign())).status, { timeout: 25_000, interval: 250 }).toBe(200)
    expect((await asking(run, '/orders', old)).status).toBe(401)
  })

  it('answers 503 for a provider whose keys were never had, and serves the rest', { timeout: 60_000 }, async () => {
    await using issuer = await identityIssuer()
    issuer.answer = () => ({ status: 500, body: '' })
    const run = await running(issuer)
    const { status, headers } = await asking(run, '/orders', await issuer.sign())
    expect(status).toBe(503)
    expect(headers.get('retry-after')).toBe('1')
    expect(await run.gateway.check()).toMatchObject({ status: 'warn' })
  })

  it('asks for the first keys once in a second, and has them as soon as the provider is there', { timeout: 60_000 }, async () => {
    await using issuer = await identityIssuer()
    issuer.answer = () => ({ status: 500, body: '' })
    const run = await running(issuer)
    const ask = async () => (await asking(run, '/orders', await issuer.sign())).status
    const [startedAt, fetched] = [performance.now(), issuer.fetches]
    while (performance.now() - startedAt < 2_500) expect(await ask()).toBe(503)
    expect(issuer.fetches - fetched).toBeLessThanOrEqual(Math.ceil((performance.now() - startedAt) / 1_000))
    issuer.answer = (keys) => ({ status: 200, body: JSON.stringify(keys) })
    // Far below the ten seconds between two looks for another key.
    await expect.poll(ask, { timeout: 5_000, interval: 100 }).toBe(200)
  })
})

describe('limits', () => {
  it('are shared by gateways over Redis, one for each consumer, and told in headers', { timeout: 60_000 }, async () => {
    await using issuer = await identityIssuer()
    await using place = await testRedis()
    await using proxy = await faultProxy(place.url)
    const redis = new Redis(proxy.url, { maxRetriesPerRequest: 1 }).on('error', () => {})
    onTestFinished(() => redis.disconnect())
    const [first, second] = [await running(issuer, { redis }), await running(issuer, { redis })]
    const token = await issuer.sign({ sub: 'greedy' })
    const answers = await Promise.all(Array.from({ length: 60 }, (_, n) => asking(n % 3 === 0 ? first : second, '/few', token)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(20)
    const refused = answers.find(({ status }) => status === 429)!
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(30)
    expect(refused.headers.get('ratelimit')).toMatch(/^"few";r=0;t=\d+$/)
    expect(refused.headers.get('ratelimit-policy')).toBe('"few";q=60;w=3600')
    expect(refused.headers.get('content-type')).toBe('application/problem+json')
    const other = await asking(first, '/few', await issuer.sign({ sub: 'modest' }))
    expect(other.status).toBe(200)
    expect(other.headers.get('ratelimit')).toBe('"few";r=19')
    // Redis is away: each goes on with its share.
    proxy.silence()
    const alone = await Promise.all(
      Array.from({ length: 30 }, async () => (await asking(first, '/few', await issuer.sign({ sub: 'alone' }))).status),
    )
    expect(alone.filter((status) => status === 200).length).toBeGreaterThanOrEqual(1)
    expect(alone.filter((status) => status === 429).length).toBeGreaterThanOrEqual(10)
    proxy.restore()
  })

  it('do what their route says when Redis is away, and hold again when it is back', { timeout: 60_000 }, async () => {
    await using place = await testRedis()
    await using proxy = await faultProxy(place.url)
    const redis = new Redis(proxy.url, { maxRetriesPerRequest: 1 }).on('error', () => {})
    onTestFinished(() => redis.disconnect())
    const limited = (mode: string) => `
  - name: ${mode}
    matches: [{ path: { value: /${mode} } }]
    auth: public
    backendRefs: [{ name: orders }]
    rateLimit: { requests: 10, periodMs: 3600000, by: route, whenRedisIsDown: ${mode} }`
    const text = `
listeners: [{{listen}}]
services: { orders: {} }
routes:${['open', 'closed', 'local-share'].map(limited).join('')}`
    await using run = await runGateway(text, { discovery: settableDiscovery({ orders: [orders.port] }), redis })
    await expect.poll(async () => (await fetch(`${run.url}/open`)).status, { timeout: 20_000 }).toBe(200)
    const passed = async (mode: string) => {
      const statuses = []
      for (let n = 0; n < 15; n++) statuses.push((await fetch(`${run.url}/${mode}`)).status)
      expect(statuses.filter((status) => status !== 200 && status !== 429)).toEqual([])
      return statuses.filter((status) => status === 200).length
    }
    proxy.silence()
    expect([await passed('open'), await passed('closed')]).toEqual([15, 0])
    expect(await passed('local-share')).toBeLessThanOrEqual(10)
    proxy.restore()
    // What passed while it was away was not counted there; one was.
    await expect.poll(() => passed('closed'), { timeout: 20_000, interval: 500 }).toBeGreaterThan(0)
    expect(await passed('closed')).toBeLessThan(15)
    expect((await fetch(`${run.url}/closed`)).status).toBe(429)
  })

  it('of addresses hold before a token is looked at', { timeout: 60_000 }, async () => {
    await using issuer = await identityIssuer()
    const run = await running(issuer)
    const statuses = []
    for (let n = 0; n < 5; n++) statuses.push((await asking(run, '/address', undefined, { 'x-forwarded-for': `6.6.6.${n}` })).status)
    expect(statuses).toEqual([200, 200, 200, 429, 429])
  })
})
