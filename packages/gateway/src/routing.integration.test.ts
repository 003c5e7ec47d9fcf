import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import {
  type EchoService,
  echoService,
  nginxPrograms,
  rawRequest,
  type Run,
  runGateway,
  type Seen,
  settableDiscovery,
} from './gateway-run.fixture.ts'
import { believedHeaders } from './headers.ts'
import { refusedPaths } from './compile/raw-path.ts'

const routes = `
listeners: [{{listen}}]
services: { catalog: {}, canary: {}, nobody: {} }
routes:
  - name: films
    matches: [{ path: { value: /films }, method: GET }]
    auth: public
    backendRefs: [{ name: catalog }]
    filters: [{ cors: { allowOrigins: ['https://shop.example'], allowHeaders: [content-type], allowCredentials: true } }]
  - name: beta
    matches: [{ path: { value: /films }, method: GET, headers: [{ name: x-beta, value: 'y$es "\\' }] }]
    auth: public
    backendRefs: [{ name: canary }]
    filters:
      - urlRewrite: { path: { replacePrefixMatch: '/v2/$films' } }
      - requestHeaderModifier: { set: [{ name: x-a, value: 'a $host "q" \\ {;}' }], remove: [x-b] }
      - responseHeaderModifier: { set: [{ name: x-c, value: 'c$' }], remove: [x-secret] }
  - name: exact
    matches: [{ path: { type: Exact, value: /films/top } }]
    auth: public
    backendRefs: [{ name: canary }]
  - name: digits
    matches: [{ path: { type: RegularExpression, value: '/d/[0-9]{1,3}' } }]
    auth: public
    backendRefs: [{ name: canary }]
  - name: split
    matches: [{ path: { value: /split } }]
    auth: public
    backendRefs: [{ name: catalog, weight: 3 }, { name: canary, weight: 1 }]
  - name: old
    matches: [{ path: { type: Exact, value: /old } }]
    auth: public
    filters: [{ requestRedirect: { hostname: new.example, scheme: https, path: { replaceFullPath: '/$films' }, statusCode: 301 } }]
  - name: empty
    matches: [{ path: { value: /empty } }]
    auth: public
    backendRefs: [{ name: nobody }]
  - name: small
    matches: [{ path: { value: /small } }]
    auth: public
    backendRefs: [{ name: catalog }]
    maxBodyBytes: 1000
  - { name: large, matches: [{ path: { value: /large } }], auth: public, backendRefs: [{ name: catalog }], maxBodyBytes: 3000000 }
  - name: host
    hostnames: [a.example, '*.b.example']
    matches: [{ path: { value: / } }]
    auth: public
    backendRefs: [{ name: canary }]
`
const oneOf = (text: string) => JSON.parse(text.slice(text.indexOf('{', text.indexOf('\r\n\r\n')), text.lastIndexOf('}') + 1)) as Seen

describe.each([
  ['the newest nginx, by name server', { nginx: nginxPrograms.newest }],
  ['an older nginx, by reloads', { nginx: nginxPrograms.older, endpoints: 'reload' as const }],
])('routes on %s', (_name, options) => {
  let catalog: EchoService
  let canary: EchoService
  let run: Run
  beforeAll(async () => {
    catalog = await echoService('catalog')
    canary = await echoService('canary')
    const discovery = settableDiscovery({ catalog: [catalog.port], canary: [canary.port], nobody: [] })
    run = await runGateway(routes, { discovery, ...options })
    for (const path of ['/films', '/films/top']) {
      await vi.waitUntil(async () => (await fetch(run.url + path)).status === 200, { timeout: 20_000 })
    }
  }, 60_000)
  afterAll(async () => {
    await run?.[Symbol.asyncDispose]()
    await catalog?.[Symbol.asyncDispose]()
    await canary?.[Symbol.asyncDispose]()
  })
  const ask = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(`${run.url}${path}`, { redirect: 'manual', ...init })
    const text = await response.text()
    return {
      status: response.status,
      headers: response.headers,
      body: (text.startsWith('{') ? JSON.parse(text) : {}) as Seen & { title?: string },
    }
  }

  it('takes exact paths before prefixes, whole segments, methods and headers', async () => {
    expect((await ask('/films')).body.service).toBe('catalog')
    expect((await ask('/films/7?a=%20b')).body).toMatchObject({ service: 'catalog', url: '/films/7?a=%20b' })
    expect((await ask('/films/top')).body.service).toBe('canary')
    expect((await ask('/filmsx')).status).toBe(404)
    expect((await ask('/d/123')).body.service).toBe('canary')
    expect((await ask('/d/1234')).status).toBe(404)
    expect((await ask('/films', { method: 'HEAD' })).status).toBe(200)
    const other = await ask('/films', { method: 'POST' })
    expect(other.status).toBe(405)
    expect(other.headers.get('allow')).toBe('GET, HEAD')
    expect(other.headers.get('content-type')).toBe('application/problem+json')
  })

  it('changes paths and headers as the text says, whatever characters it holds', async () => {
    const { body, headers } = await ask('/films/a%20b?x=1', { headers: { 'x-beta': 'y$es "\\', 'x-b': '1' } })
    expect(body).toMatchObject({ service: 'canary', url: '/v2/$films/a%20b?x=1', headers: { 'x-a': 'a $host "q" \\ {;}' } })
    expect(body.headers['x-b']).toBeUndefined()
    expect(headers.get('x-c')).toBe('c$')
    // A prefix in another spelling cannot be replaced.
    expect((await ask('/f%69lms/7', { headers: { 'x-beta': 'y$es "\\' } })).status).toBe(400)
    expect((await ask('/old')).headers.get('location')).toBe('https://new.example/$films')
  })

  it('tells services who asks, in headers that no client can set', async () => {
    const forged = {
      'x-forwarded-for': '6.6.6.6',
      forwarded: 'for=6.6.6.6',
      'x-real-ip': '6.6.6.6',
      'x-platform-subject': 'root',
      x_platform_subject: 'root',
      X_Forwarded_For: '6.6.6.6',
      'x-platform-scopes': 'all',
      'x-platform-deadline-ms': '999999',
      'x-platform-attempt': '7',
      traceparent: '00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01',
      tracestate: 'a=b',
      baggage: 'a=b',
      authorization: 'Bearer x',
      'x-request-id': 'mine',
      ...Object.fromEntries(believedHeaders.map((name) => [name, 'root'])),
    }
    const { headers } = (await ask('/films', { headers: forged })).body
    expect(JSON.stringify(headers)).not.toMatch(/6\.6\.6\.6|root|999999|aaaaaaaa|a=b|Bearer|mine/)
    expect(headers).toMatchObject({ 'x-forwarded-for': '127.0.0.1', 'x-platform-deadline-ms': '10000', 'x-platform-attempt': '1' })
    expect(believedHeaders.filter((name) => name in headers)).toEqual([])
    expect(headers['traceparent']).toMatch(new RegExp(`^00-${headers['x-request-id'] as string}-[0-9a-f]{16}-0[01]$`))
  })

  it('splits by weight, answers for hosts, limits bodies, and says 503 for a service without instances', { timeout: 60_000 }, async () => {
    const services = await Promise.all(Array.from({ length: 400 }, async () => (await ask('/split')).body.service))
    const canaries = services.filter((service) => service === 'canary').length
    expect(canaries).toBeGreaterThan(50) // 100 expected; more than five standard deviations
    expect(canaries).toBeLessThan(150)
    for (const host of ['a.example', 'x.b.example']) {
      const { text } = await rawRequest(run.port, `GET /films HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
      expect(oneOf(text).service).toBe('canary')
    }
    expect((await ask('/small', { method: 'POST', body: 'x'.repeat(999) })).status).toBe(200)
    expect((await ask('/small', { method: 'POST', body: 'x'.repeat(1001) })).status).toBe(413)
    // A length that nobody announced is counted.
    const unannounced = (bytes: number) => ({ method: 'POST', body: new Blob(['x'.repeat(bytes)]).stream(), duplex: 'half' as const })
    expect((await ask('/small', unannounced(999))).status).toBe(200)
    expect((await ask('/small', unannounced(1001))).status).toBe(413)
    expect((await ask('/large', unannounced(2_000_000))).status).toBe(200)
    const empty = await ask('/empty')
    expect(empty.status).toBe(503)
    expect(empty.headers.get('retry-after')).toBe('1')
    expect(empty.body.title).toBe('Service Unavailable')
  })

  it('answers preflights itself, for origins that may ask', async () => {
    const preflight = (origin: string) => ask('/films', { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'GET' } })
    const { status, headers } = await preflight('https://shop.example')
    expect(status).toBe(204)
    expect(headers.get('access-control-allow-origin')).toBe('https://shop.example')
    expect(headers.get('access-control-allow-methods')).toContain('GET')
    expect((await preflight('https://shop.example.evil')).headers.get('access-control-allow-origin')).toBeNull()
    const real = await ask('/films', { headers: { origin: 'https://shop.example' } })
    expect(real.headers.get('access-control-allow-origin')).toBe('https://shop.example')
  })

  it.each([
    '/films//7',
    '//films',
    '/films/./7',
    '/films/../films',
    '/films/..',
    '/films/.',
    '/films/%2e%2e/7',
    '/films/%2E/7',
    '/films/%252e%252e/7',
    '/films/a%2fb',
    '/films/a%2Fb',
    '/films/a%255Cb',
    '/films/a\\b',
    '/films/a%5cb',
    '/films;v=1',
    '/films/7%3Bv',
    '/films/%00',
    '/films/%0d%0aX:1',
    '/films/a%7f',
    '/films/%3fa',
    '/films/%23a',
    '/films/%zz',
    '/films/%',
    '/films/a\tb',
    '/films#a',
  ])('refuses the raw path %s', async (path) => {
    const { status } = await rawRequest(run.port, `GET ${path} HTTP/1.1\r\nHost: a\r\nX-Refused: yes\r\nConnection: close\r\n\r\n`)
    expect(status).toBe(400)
    expect([...catalog.seen, ...canary.seen].filter(({ headers }) => headers['x-refused'] !== undefined)).toEqual([])
  })

  it.each<[string, string, number | readonly number[]]>([
    ['an absolute target with a refused path', 'GET http://a/films/%2e%2e/x HTTP/1.1\r\nHost: a\r\n', 400],
    ['two lengths', 'POST /films HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n', 400],
    ['a length and chunks', 'POST /films HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n', 400],
    ['chunks under another name', 'POST /films HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n', 501],
    ['two hosts', 'GET /films HTTP/1.1\r\nHost: a\r\nHost: b\r\n', 400],
    ['no host', 'GET /films HTTP/1.1\r\n', 400],
    ['a header that names nothing', 'GET /films HTTP/1.1\r\nHost: a\r\n: x\r\n', 400],
    ['a line that goes on', 'GET /films HTTP/1.1\r\nHost: a\r\nX-A: b\r\n X-Platform-Subject: root\r\n', 400],
    ['no path at all', 'GET films HTTP/1.1\r\nHost: a\r\n', 400],
    ['another protocol', 'GET /films HTTP/3.0\r\nHost: a\r\n', 505],
    ['a tunnel', 'CONNECT a:443 HTTP/1.1\r\nHost: a\r\n', [400, 405]],
  ])('lets no request through with %s', async (_what, text, expected) => {
    const before = [...catalog.seen, ...canary.seen].filter(({ headers }) => headers['x-refused'] !== undefined).length
    const { status } = await rawRequest(run.port, `${text}X-Refused: yes\r\nConnection: close\r\n\r\n`)
    expect([expected].flat()).toContain(status)
    expect([...catalog.seen, ...canary.seen].filter(({ headers }) => headers['x-refused'] !== undefined)).toHaveLength(before)
  })

  it('hides nothing of its own behind what a client calls its connection', async () => {
    const { text } = await rawRequest(
      run.port,
      'GET /films HTTP/1.1\r\nHost: a\r\nConnection: close, X-Forwarded-For, X-Request-Id\r\nX-Platform-Subject : root\r\n\r\n',
    )
    expect(text).not.toContain('root')
    const named = await rawRequest(run.port, 'GET /films HTTP/1.1\r\nHost: a\r\nConnection: close, X-Forwarded-For, X-Request-Id\r\n\r\n')
    expect(oneOf(named.text).headers).toMatchObject({ 'x-forwarded-for': '127.0.0.1', 'x-request-id': expect.any(String) })
  })

  it('lets through what only looks like that', async () => {
    for (const path of [
      '/films/a.b',
      '/films/..a',
      '/films/%E6%98%A0',
      '/films/a%20b',
      '/films?q=//..;%2e%2e%2f\\%00',
      '/films/a+b@c,d=e!$&()*~',
    ]) {
      const { status, text } = await rawRequest(run.port, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
      expect([path, status]).toEqual([path, 200])
      expect(oneOf(text).url).toBe(path)
    }
    expect(refusedPaths.length).toBeGreaterThan(8)
  })

  it('writes a line for each request, without its query', async () => {
    await ask('/films/line?token=secret')
    await expect
      .poll(() => run.lines.find(({ fields }) => fields['path'] === '/films/line')?.fields, { timeout: 20_000 })
      .toMatchObject({ route: 'films', status: 200, method: 'GET' })
    expect(JSON.stringify(run.lines)).not.toContain('secret')
  })
})
