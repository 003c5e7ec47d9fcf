/** One route: who may come, what the service is told, where the request goes. */
import { attemptHeader, believedHeaders, deadlineHeader, requestIdHeader, scopesHeader, subjectHeader, verdictHeaders } from '../headers.ts'
import { type Argument, block, type Directive, directive, type Piece, raw, variable, word } from '../nginx-text.ts'
import type { GatewayFile, IdentityProvider, Redirect, Route } from '../gateway-file.ts'
import { corsHeaders, corsOf, setOrigin } from './cors.ts'
import { grpcDenied, grpcPages, grpcTimeoutPiece } from './grpc.ts'
import { grpcUpstreamOf, isVerified, locationOf, regexOf, routeVariable, upstreamOf, verifyPath } from './names.ts'
import { errorPages } from './problems.ts'
import { after502 } from './second-start.ts'
import { traceParent } from './tracing.ts'

interface Compiled {
  readonly maps: readonly Directive[]
  readonly location: Directive
}

const webSocketSilence = '3600s'

export function routeLocation(file: GatewayFile, route: Route, name: (kind: string) => string, bodyLimit: Directive): Compiled {
  const redirect = route.filters.find((filter) => 'requestRedirect' in filter)?.requestRedirect
  const cors = corsOf(route)
  const head = [
    directive('set', word(`$${routeVariable}`), word(route.name)),
    ...(cors === undefined ? [] : [setOrigin(route)]),
    ...responseHeaders(route),
  ]
  const at = (body: readonly Directive[]): Directive => block('location', [word(locationOf(route))], [...head, ...body])
  if (redirect !== undefined) return { maps: [], location: at([directive('return', redirect.statusCode, redirectTarget(redirect))]) }
  const rewritten = rewrite(route, name)
  const backend = backendOf(route, name)
  const refuseUnrewritten = (path: string): Directive =>
    block('if', [word(`($${path}`), word('='), raw(''), word(')')], [directive('return', 400)])
  return {
    maps: [rewritten?.map, ...backend.maps].filter((map) => map !== undefined),
    location: at([
      ...(rewritten === undefined ? [] : [refuseUnrewritten(rewritten.variable)]),
      ...(isVerified(route) ? verified(file, route) : pagesOf(route)),
      ...requestHeaders(file, route),
      bodyLimit,
      ...transport(route),
      ...secured(file, route, backend.name),
      directive(of(route, 'pass'), [
        schemeOf(file, route),
        backend.piece,
        ...(rewritten === undefined ? [] : [variable(rewritten.variable)]),
      ]),
    ]),
  }
}

function redirectTarget({ scheme, hostname, path }: Redirect): Argument {
  const start: Piece[] = scheme === undefined ? [variable('scheme'), '://'] : [`${scheme}://`]
  const host: Piece[] = hostname === undefined ? [variable('host')] : [hostname]
  // The port of this listener stays unless something says where else.
  const port: Piece[] = scheme === undefined && hostname === undefined ? [':', variable('server_port')] : []
  return [...start, ...host, ...port, ...(path === undefined ? [variable('request_uri')] : [path.replaceFullPath])]
}

/** The new path is made of the raw one. One that is spelt so that it begins otherwise than the route is refused: there is nothing to replace. */
function rewrite(route: Route, name: (kind: string) => string): { map: Directive; variable: string } | undefined {
  const filter = route.filters.find((each) => 'urlRewrite' in each)?.urlRewrite
  if (filter === undefined) return undefined
  const target = name('rewrite')
  const entries: Directive[] =
    'replaceFullPath' in filter.path
      ? [{ name: '~^[^?]*([?].*)?$', args: [[filter.path.replaceFullPath, variable('1')]] }]
      : prefixEntries(route, filter.path.replacePrefixMatch)
  return {
    map: block('map', [word('$request_uri'), word(`$${target}`)], [{ name: 'default', args: [raw('')] }, ...entries]),
    variable: target,
  }
}

function prefixEntries(route: Route, replacement: string): Directive[] {
  const prefixes = route.matches.map(({ path }) => path.value).toSorted((a, b) => b.length - a.length)
  const bare = replacement.endsWith('/') ? replacement.slice(0, -1) : replacement
  return prefixes.flatMap((prefix) => {
    const start = `~^${prefix === '/' ? '' : regexOf(prefix)}`
    return [
      { name: `${start}(/.*)$`, args: [[bare, variable('1')]] },
      { name: `${start}([?].*)?$`, args: [[bare === '' ? '/' : bare, variable('1')]] },
    ]
  })
}

/** Both of nginx's modules have the same directives, each under its own name. */
const of = ({ grpc }: Route, what: string): string => `${grpc ? 'grpc' : 'proxy'}_${what}`

function schemeOf(file: GatewayFile, route: Route): Piece {
  return `${route.grpc ? 'grpc' : 'http'}${caFileOf(file, route) === undefined ? '' : 's'}://`
}

interface Backend {
  /** Of nginx. */
  readonly piece: Piece
  /** Of the service. */
  readonly name: Piece
  readonly maps: readonly Directive[]
}

function backendOf({ backendRefs, grpc }: Route, name: (kind: string) => string): Backend {
  const groupOf = grpc ? grpcUpstreamOf : upstreamOf
  const used = backendRefs.filter(({ weight }) => weight > 0)
  if (used.length === 1) return { piece: groupOf(used[0]!.name), name: used[0]!.name, maps: [] }
  const [chosen, named] = [name('backend'), name('service')]
  const total = used.reduce((sum, { weight }) => sum + weight, 0)
  // Hundredths of a percent are the finest that nginx tells apart; the last one takes what is left.
  const shares = used.slice(0, -1).map((each) => ({ each, percent: Math.max(0.01, Math.round((each.weight / total) * 10_000) / 100) }))
  return {
    piece: variable(chosen),
    name: variable(named),
    maps: [
      block(
        'split_clients',
        [[variable('request_id')], word(`$${chosen}`)],
        [
          ...shares.map(({ each, percent }) => ({ name: `${percent}%`, args: [word(groupOf(each.name))] })),
          { name: '*', args: [word(groupOf(used.at(-1)!.name))] },
        ],
      ),
      block(
        'map',
        [[variable(chosen)], word(`$${named}`)],
        used.map((each) => ({ name: groupOf(each.name), args: [word(each.name)] })),
      ),
    ],
  }
}

/** The services of one route are asked alike: `check-routes.ts`. */
const caFileOf = ({ services }: GatewayFile, { backendRefs }: Route): string | undefined => services[backendRefs[0]!.name]?.tls?.caFile

function secured(file: GatewayFile, route: Route, service: Piece): Directive[] {
  const caFile = caFileOf(file, route)
  if (caFile === undefined) return []
  return [
    directive(of(route, 'ssl_verify'), word('on')),
    directive(of(route, 'ssl_verify_depth'), 3),
    directive(of(route, 'ssl_trusted_certificate'), raw(caFile)),
    directive(of(route, 'ssl_server_name'), word('on')),
    directive(of(route, 'ssl_name'), [service]),
    directive(of(route, 'ssl_protocols'), word('TLSv1.2'), word('TLSv1.3')),
  ]
}

/** A body that was passed on as it came cannot be sent once more. */
function pagesOf({ streaming, grpc }: Route): Directive[] {
  if (grpc) return grpcPages()
  return streaming ? errorPages() : errorPages([after502])
}

/** One question to the verifier; what it answers is kept before a denial is turned into the answer for the client. */
function verified(file: GatewayFile, route: Route): Directive[] {
  const provider = providerOf(file, route)
  const keep = (target: string, header: string): Directive =>
    directive('auth_request_set', word(`$${target}`), [variable(`upstream_http_${header.replaceAll('-', '_')}`)])
  return [
    ...pagesOf(route).filter((page) => page.args[0] !== undefined && !('word' in page.args[0] && page.args[0].word === '500')),
    directive('error_page', 401, 403, 500, word('='), word(route.grpc ? grpcDenied : '@denied')),
    directive('auth_request', word(verifyPath)),
    ...verdictVariables.map(([target, header]) => keep(target, header)),
    ...(provider?.identityHeaders ?? []).map(({ name: header }, place) =>
      keep(claimVariable(place), `${verdictHeaders.claims}${header.toLowerCase()}`),
    ),
  ]
}

/** What a verdict leaves in variables. */
export const verdictVariables: readonly (readonly [string, string])[] = [
  ['platform_status', verdictHeaders.status],
  ['platform_code', verdictHeaders.code],
  ['platform_detail', verdictHeaders.detail],
  ['platform_retry_after', verdictHeaders.retryAfter],
  ['platform_ratelimit', verdictHeaders.rateLimit],
  ['platform_ratelimit_policy', verdictHeaders.rateLimitPolicy],
  ['platform_challenge', verdictHeaders.challenge],
  ['platform_subject', verdictHeaders.subject],
  ['platform_scopes', verdictHeaders.scopes],
  ['platform_auth_ms', verdictHeaders.durationMs],
]
const claimVariable = (place: number): string => `platform_claim_${place}`

function providerOf(file: GatewayFile, { auth }: Route): IdentityProvider | undefined {
  return auth === 'public' ? undefined : file.identityProviders[auth.jwt]
}

/** The whole set, because a location that sets one header inherits none. */
function requestHeaders(file: GatewayFile, route: Route): Directive[] {
  const provider = providerOf(file, route)
  const modifier = route.filters.find((filter) => 'requestHeaderModifier' in filter)?.requestHeaderModifier
  const headers = new Map<string, readonly Piece[]>()
  const say = (header: string, ...value: Piece[]): void => void headers.set(header.toLowerCase(), value)
  const strip = (header: string): void => void headers.set(header.toLowerCase(), [])
  for (const each of Object.values(file.identityProviders)) for (const { name } of each.identityHeaders) strip(name)
  for (const header of ['forwarded', 'tracestate', 'baggage', 'upgrade', ...believedHeaders]) strip(header)
  say('host', variable('host'))
  say('connection')
  say(requestIdHeader, variable('request_id'))
  say('x-forwarded-for', variable('remote_addr'))
  say('x-real-ip', variable('remote_addr'))
  say('x-forwarded-proto', variable('scheme'))
  say('x-forwarded-host', variable('host'))
  say('x-forwarded-port', variable('server_port'))
  say('traceparent', ...traceParent)
  say(deadlineHeader, String(route.timeouts.requestMs))
  say(attemptHeader, '1')
  say(subjectHeader, ...(provider === undefined ? [] : [variable('platform_subject')]))
  say(scopesHeader, ...(provider === undefined ? [] : [variable('platform_scopes')]))
  for (const [place, { name }] of (provider?.identityHeaders ?? []).entries()) say(name, variable(claimVariable(place)))
  if (route.auth === 'public' || !route.auth.forwardToken) strip('authorization')
  if (route.webSocket) {
    say('upgrade', variable('http_upgrade'))
    say('connection', variable('platform_connection'))
  }
  if (route.grpc) say('grpc-timeout', grpcTimeoutPiece(route))
  for (const { name, value } of modifier?.set ?? []) say(name, value)
  for (const name of modifier?.remove ?? []) strip(name)
  return [...headers].map(([header, value]) => directive(of(route, 'set_header'), word(header), value))
}

/** The whole set again. */
function responseHeaders(route: Route): Directive[] {
  const modifier = route.filters.find((filter) => 'responseHeaderModifier' in filter)?.responseHeaderModifier
  const cors = corsOf(route)
  const replaced = [...(modifier?.set ?? []).map(({ name }) => name), ...(modifier?.remove ?? [])]
  const auth: Piece[] = isVerified(route) ? ['auth;dur=', variable('platform_auth_ms'), ', '] : []
  const timing: Piece[] = [...auth, 'upstream;dur=', variable('platform_upstream_ms')]
  return [
    directive('add_header', word('X-Request-Id'), [variable('request_id')], word('always')),
    directive('add_header', word('Server-Timing'), timing, word('always')),
    directive('add_header', word('RateLimit'), [variable('platform_ratelimit')], word('always')),
    directive('add_header', word('RateLimit-Policy'), [variable('platform_ratelimit_policy')], word('always')),
    ...(cors === undefined ? [] : corsHeaders(cors)),
    ...replaced.map((header) => directive(of(route, 'hide_header'), word(header))),
    ...(modifier?.set ?? []).map(({ name, value }) => directive('add_header', word(name), [value], word('always'))),
  ]
}

function transport(route: Route): Directive[] {
  const { timeouts, retry } = route
  const conditions = retry.maxAttempts === 1 ? ['off'] : ['error', 'timeout', ...retry.codes.map((code) => `http_${code}`)]
  if (retry.maxAttempts > 1 && retry.nonIdempotent) conditions.push('non_idempotent')
  const silence = route.webSocket ? webSocketSilence : `${timeouts.backendRequestMs}ms`
  return [
    directive(of(route, 'read_timeout'), word(silence)),
    directive(of(route, 'send_timeout'), word(silence)),
    directive(of(route, 'next_upstream'), ...conditions.map(word)),
    directive(of(route, 'next_upstream_tries'), retry.maxAttempts),
    directive(of(route, 'next_upstream_timeout'), word(`${timeouts.requestMs}ms`)),
    // What a service or a sentinel says without gRPC becomes a status too.
    ...(route.grpc ? [directive('grpc_connect_timeout', word('1s')), directive('grpc_intercept_errors', word('on'))] : []),
    ...(route.streaming ? [directive('proxy_buffering', word('off')), directive('proxy_request_buffering', word('off'))] : []),
  ]
}
