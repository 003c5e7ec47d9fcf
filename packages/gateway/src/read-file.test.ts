import { describe, expect, it } from 'vitest'
import { GatewayError, gatewayJsonSchema, readGatewayFile } from './index.ts'

const file = (routes: string, more = '') => `listeners: [{ port: 8080 }]
services: { catalog: {}, orders: {}, secure: { tls: { caFile: /ca.pem } } }
identityProviders:
  customers: { issuer: 'https://id.example', audience: store, jwksUri: 'https://id.example/keys', algorithms: [ES256] }
${more}routes:
${routes}`
const route = (name: string, rest: string) => `  - name: ${name}\n    auth: public\n    backendRefs: [{ name: catalog }]\n    ${rest}\n`
const replacing = (from: string, to: string) => (text: string) => text.replace(from, to)
const at = (path: string, more = '') => `matches: [{ path: { value: '${path}' }${more} }]`

function faultsOf(text: string): { line: number; route: string | undefined; problem: string }[] {
  try {
    readGatewayFile(text)
  } catch (error) {
    if (!GatewayError.isInstance(error)) throw error
    return error.faults.map(({ line, route: name, problem }) => ({ line, route: name, problem }))
  }
  return []
}

describe('readGatewayFile', () => {
  it('fills in every default', () => {
    const { routes, services } = readGatewayFile(file(route('films', at('/films'))))
    expect(services['catalog']).toEqual({ maxInstances: 200 })
    expect(routes[0]).toMatchObject({
      matches: [{ path: { type: 'PathPrefix', value: '/films' }, headers: [] }],
      retry: { maxAttempts: 2, codes: [502, 503, 504], nonIdempotent: false },
      timeouts: { requestMs: 10_000, backendRequestMs: 10_000 },
    })
  })

  it('says nothing against routes that differ in method, headers, host or kind of path', () => {
    const routes = [
      route('a', at('/films', ', method: GET')),
      route('b', at('/films', ', method: POST')),
      route('c', at('/films', ', method: GET, headers: [{ name: x-beta, value: "1" }]')),
      route('d', `hostnames: [a.example]\n    ${at('/films', ', method: GET')}`),
      route('e', `matches: [{ path: { type: Exact, value: /films }, method: GET }]`),
      route('f', `matches: [{ path: { type: RegularExpression, value: '/x/[0-9]{1,3}' } }]`),
    ]
    expect(faultsOf(file(routes.join('')))).toEqual([])
  })

  it.each<[what: string, routes: string, name: string | undefined, problem: RegExp, change?: (text: string) => string]>([
    ['an unknown service', route('a', 'matches: [{}]').replace('catalog', 'nobody'), 'a', /no service is called nobody/],
    ['an unknown key', route('a', `${at('/a')}\n    retries: 3`), 'a', /unknown key "retries"/],
    ['a missing auth', route('a', at('/a')).replace('auth: public', 'streaming: true'), 'a', /auth is needed/],
    ['an unknown identity provider', route('a', at('/a')).replace('public', '{ jwt: staff }'), 'a', /no identity provider is called staff/],
    ['the same match twice', route('a', at('/a')) + route('b', at('/a')), 'b', /route a has the same match/],
    [
      'HEAD beside GET, which includes it',
      route('a', at('/a', ', method: GET')) + route('b', at('/a', ', method: HEAD')),
      'b',
      /route a has the same match/,
    ],
    [
      'services of one route that are asked in two ways',
      route('a', at('/a')).replace('[{ name: catalog }]', '[{ name: catalog }, { name: secure }]'),
      'a',
      /asked alike/,
    ],
    ['the same name twice', route('a', at('/a')) + route('a', at('/b')), 'a', /another route has this name/],
    [
      'a route that is never reached',
      route('a', at('/')) + route('b', "matches: [{ path: { type: RegularExpression, value: '/x[0-9]' } }]"),
      'b',
      /never reached: the prefix \//,
    ],
    ['a control character', route('a', 'matches: [{ path: { value: "/a\\r\\nx" } }]'), 'a', /control character/],
    ['a broken character', route('a', 'matches: [{ path: { value: "/a\\ud800" } }]'), 'a', /control character or a broken one/],
    ['a path that no request can have', route('a', at('/a/../b')), 'a', /no request has such a path/],
    ['a path of the gateway itself', route('a', at('/_platform/verify')), 'a', /the gateway's own/],
    [
      'two body limits on one path',
      `${route('a', `${at('/a', ', method: GET')}\n    maxBodyBytes: 1`)}${route('b', `${at('/a', ', method: POST')}\n    maxBodyBytes: 2`)}`,
      'b',
      /another limit on the same path/,
    ],
    [
      'a header that the gateway sets',
      route('a', `${at('/a')}\n    filters: [{ requestHeaderModifier: { set: [{ name: X-Platform-Subject, value: root }] } }]`),
      'a',
      /set by the gateway itself/,
    ],
    [
      'a limit by consumer without consumers',
      route('a', `${at('/a')}\n    rateLimit: { requests: 1, periodMs: 1000, by: consumer }`),
      'a',
      /has no consumers/,
    ],
    ['weights of nothing', route('a', at('/a')).replace('{ name: catalog }', '{ name: catalog, weight: 0 }'), 'a', /every weight is 0/],
    [
      'an expression that is none',
      route('a', "matches: [{ path: { type: RegularExpression, value: '/(' } }]"),
      'a',
      /not a regular expression/,
    ],
    [
      'a redirect behind a token',
      route('a', `${at('/a')}\n    filters: [{ requestRedirect: {} }]`)
        .replace('auth: public', 'auth: { jwt: customers }')
        .replace('[{ name: catalog }]', '[]'),
      'a',
      /a redirect is public/,
    ],
    [
      'one header for two claims',
      route('a', at('/a')),
      undefined,
      /another claim is told by this header/,
      (text: string) =>
        text.replace('[ES256] }', '[ES256], identityHeaders: [{ name: x-tenant, claim: tenant }, { name: X-Tenant, claim: org }] }'),
    ],
    [
      'an address that is none',
      route('a', at('/a')),
      undefined,
      /must be an IP address/,
      replacing('port: 8080', 'port: 8080, address: 999.1.1.1'),
    ],
    [
      'a network that is none',
      route('a', at('/a')),
      undefined,
      /an address or a network/,
      replacing('routes:', 'trustedProxies: [10.0.0.0/33]\nroutes:'),
    ],
    [
      "a header of nginx's own in an answer",
      route('a', `${at('/a')}\n    filters: [{ responseHeaderModifier: { set: [{ name: Content-Length, value: "0" }] } }]`),
      'a',
      /content-length is set by the gateway itself/,
    ],
    [
      'a header of an answer twice',
      route('a', `${at('/a')}\n    filters: [{ responseHeaderModifier: { set: [{ name: x-a, value: b }], remove: [X-A] } }]`),
      'a',
      /names a header twice/,
    ],
    ['gRPC with what it does not have', route('a', `${at('/a')}\n    grpc: true\n    webSocket: true`), 'a', /no WebSockets/],
    ['gRPC by another method than POST', route('a', `${at('/a', ', method: GET')}\n    grpc: true`), 'a', /asks by POST/],
    [
      'gRPC on another path',
      route('a', `${at('/a')}\n    grpc: true\n    filters: [{ urlRewrite: { path: { replaceFullPath: /b } } }]`),
      'a',
      /has no urlRewrite/,
    ],
    ['HS256', route('a', at('/a')), undefined, /algorithms/, replacing('ES256', 'HS256')],
  ])('refuses %s, with its line and route', (_what, routes, name, problem, change = (text) => text) => {
    const text = change(file(routes))
    const faults = faultsOf(text)
    expect(faults).toContainEqual({ line: expect.any(Number), route: name, problem: expect.stringMatching(problem) })
    const line = faults.find((fault) => problem.test(fault.problem))!.line
    expect(line).toBeGreaterThan(0)
    expect(line).toBeLessThanOrEqual(text.split('\n').length)
  })

  it('tells all that is wrong at once, and where YAML itself is wrong', () => {
    expect(faultsOf(file(route('a', at('/a')).replace('catalog', 'x') + route('b', at('/b')).replace('catalog', 'y')))).toHaveLength(2)
    expect(faultsOf('listeners: [')).toEqual([{ line: 1, route: undefined, problem: expect.any(String) }])
    expect(faultsOf('')).not.toEqual([])
    expect(faultsOf('a: &a [*a, *a]')).not.toEqual([])
    expect(faultsOf(`__proto__: { x: 1 }\n${file(route('a', at('/a')))}`)).not.toEqual([])
  })

  it('gives editors the schema', () => {
    expect(gatewayJsonSchema()).toMatchObject({
      type: 'object',
      properties: { routes: { type: 'array' } },
      required: expect.arrayContaining(['routes']),
    })
  })
})
