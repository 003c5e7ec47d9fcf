/** The whole configuration of nginx for a file of routes. */
import { byHost, ownPrefix } from '../check-routes.ts'
import { verdictHeaders } from '../headers.ts'
import { block, type Directive, directive, dollarDirective, printDirectives, raw, variable, word } from '../nginx-text.ts'
import type { GatewayFile, Listener, Match, Route } from '../gateway-file.ts'
import { logName } from '../log-file.ts'
import { accessLog } from './access-log.ts'
import { corsOf, originMap, preflightLocation } from './cors.ts'
import { deniedExtras } from './denied.ts'
import { allowed, bodyLimit, type Candidate, dispatch } from './dispatch.ts'
import { grpcLocations, grpcMaps } from './grpc.ts'
import { corsVariable, countedNames, isVerified, pathKey, routeVariable, verifierUpstream, verifyPath } from './names.ts'
import { errorPages, problemHeaders, problemLocations, returnProblem, sentinelServer } from './problems.ts'
import { refusedPathMaps, refusedVariable } from './raw-path.ts'
import { routeLocation, verdictVariables } from './route-location.ts'
import { secondStart } from './second-start.ts'
import { tracing } from './tracing.ts'
import { type Endpoints, upstreams } from './upstreams.ts'

/** What the file does not say: where this gateway's own parts are. */
export interface Surroundings {
  /** Of the gateway's own: sockets, temporary files, the pid. */
  readonly folder: string
  /** Told by the state socket, so that it can be seen which configuration answers. */
  readonly generation: string
  /** Of the file, told by the access log. Instances that come and go leave it as it is. */
  readonly revision: string
  readonly workers: number
  /** Of each worker, to clients and to services. */
  readonly connections: number
  /** As whom workers run when the master is root. */
  readonly user: { readonly name: string; readonly group: string } | undefined
  readonly endpoints: Endpoints
  readonly nginxVersion: string
}

export function isAtLeast(version: string, wanted: string): boolean {
  const [have, need] = [version, wanted].map((each) => each.split('.').map(Number))
  const place = need!.findIndex((number, index) => have![index] !== number)
  return place === -1 || have![place]! > need![place]!
}

export const socketsOf = (folder: string): { state: string; sentinel: string; verifier: string } => ({
  state: `${folder}/state.sock`,
  sentinel: `${folder}/sentinel.sock`,
  verifier: `${folder}/verifier.sock`,
})

/** Connections of old workers, WebSockets among them, are cut after so long. */
export const shutdownTimeoutMs = 30_000

export function compileGateway(file: GatewayFile, surroundings: Surroundings): string {
  const { folder, workers, user } = surroundings
  return printDirectives([
    directive('daemon', word('off')),
    ...(user === undefined ? [] : [directive('user', raw(user.name), raw(user.group))]),
    directive('worker_processes', workers),
    directive('worker_shutdown_timeout', word(`${shutdownTimeoutMs}ms`)),
    directive('pid', raw(`${folder}/nginx.pid`)),
    // Maps are looked up for every request.
    directive('pcre_jit', word('on')),
    directive('error_log', word('stderr'), word('warn')),
    ...certificates(file, surroundings.nginxVersion),
    block('events', [], [directive('worker_connections', surroundings.connections)]),
    block('http', [], http(file, surroundings)),
  ])
}

/** nginx tells a changed file by its second: one that was written twice in a second would stay what it was for good. */
function certificates({ listeners }: GatewayFile, version: string): Directive[] {
  if (listeners.every(({ tls }) => tls === undefined) || !isAtLeast(version, '1.27.4')) return []
  return [directive('ssl_object_cache_inheritable', word('off'))]
}

function http(file: GatewayFile, surroundings: Surroundings): Directive[] {
  const { folder, revision } = surroundings
  const sockets = socketsOf(folder)
  const name = countedNames()
  const maps: Directive[] = []
  const servers = [...byHost(file)].flatMap(([host, placed]) => {
    const paths = Map.groupBy(placed, ({ match }) => pathKey(match))
    const regexes = new Set(placed.filter(({ match }) => match.path.type === 'RegularExpression').map(({ match }) => pathKey(match)))
    const locations = [...paths].flatMap(([key, candidates]) => {
      const { maps: more, body } = dispatch(candidates, name)
      maps.push(...more)
      return pathLocations(candidates[0]!.match, body, regexes.has(key))
    })
    const routes = [...new Set(placed.map(({ route }) => route))].flatMap((route) => {
      const { maps: more, location } = routeLocation(file, route, name, bodyLimit(onPathsOf(route, placed)))
      maps.push(...more)
      return [location, ...preflight(route, placed)]
    })
    return file.listeners.map((listener) => server(file, surroundings.nginxVersion, listener, host, [...locations, ...routes]))
  })
  return [
    ...settings(file, surroundings, sockets.verifier),
    ...accessLog(`${folder}/${logName}`, revision),
    dollarDirective,
    ...tracing(file.traceSampleRatio),
    ...refusedPathMaps(),
    secondStart(sockets.sentinel),
    block(
      'map',
      [word('$upstream_header_time'), word('$platform_upstream_ms')],
      [
        { name: 'default', args: [word('0')] },
        // The last try, in milliseconds.
        { name: '~(\\d+)[.](\\d+)$', args: [[variable('1'), variable('2')]] },
      ],
    ),
    block(
      'map',
      [word('$http_upgrade'), word('$platform_connection')],
      [
        { name: 'default', args: [word('upgrade')] },
        { name: '~^$', args: [raw('')] },
      ],
    ),
    ...file.routes.flatMap((route) => originMaps(route)),
    ...(hasGrpc(file) ? grpcMaps(file) : []),
    ...maps,
    ...upstreams(file, surroundings.endpoints, sockets.sentinel),
    stateServer(sockets.state, surroundings),
    sentinelServer(sockets.sentinel),
    ...servers,
  ]
}

const hasGrpc = ({ routes }: GatewayFile): boolean => routes.some(({ grpc }) => grpc)

function originMaps(route: Route): Directive[] {
  const cors = corsOf(route)
  return cors === undefined ? [] : [originMap(route, cors)]
}

function preflight(route: Route, placed: readonly Candidate[]): Directive[] {
  const cors = corsOf(route)
  if (cors === undefined) return []
  return [preflightLocation(route, cors, allowed(onPathsOf(route, placed)))]
}

function onPathsOf(route: Route, placed: readonly Candidate[]): Candidate[] {
  const paths = new Set(route.matches.map(pathKey))
  return placed.filter(({ match }) => paths.has(pathKey(match)))
}

function settings(file: GatewayFile, { folder, nginxVersion }: Surroundings, verifier: string): Directive[] {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return [
    ...temporary.map((each) => directive(`${each}_temp_path`, raw(`${folder}/${each}`))),
    directive('server_tokens', word('off')),
    directive('uninitialized_variable_warn', word('off')),
    // Forms with underscores of the headers that we set would look the same to a service.
    directive('underscores_in_headers', word('off')),
    directive('ignore_invalid_headers', word('on')),
    directive('large_client_header_buffers', 4, word('8k')),
    directive('client_header_timeout', word('15s')),
    directive('client_body_timeout', word('15s')),
    directive('keepalive_timeout', word('75s')),
    // Old workers wait for what a client sends on a connection in the moment of a reload.
    ...(isAtLeast(nginxVersion, '1.27.4') ? [directive('keepalive_min_timeout', word('2s'))] : []),
    directive('variables_hash_max_size', 65_536),
    directive('map_hash_max_size', 65_536),
    directive('map_hash_bucket_size', 1024),
    directive('server_names_hash_max_size', 65_536),
    directive('server_names_hash_bucket_size', 512),
    directive('proxy_headers_hash_max_size', 4096),
    directive('proxy_headers_hash_bucket_size', 256),
    directive('proxy_http_version', word('1.1')),
    directive('proxy_connect_timeout', word('1s')),
    directive('recursive_error_pages', word('on')),
    ...file.trustedProxies.map((proxy) => directive('set_real_ip_from', word(proxy))),
    ...(file.trustedProxies.length === 0
      ? []
      : [directive('real_ip_header', word('X-Forwarded-For')), directive('real_ip_recursive', word('on'))]),
    block(
      'upstream',
      [word(verifierUpstream)],
      [directive('server', raw(`unix:${verifier}`), word('max_fails=0')), directive('keepalive', 64)],
    ),
  ]
}

function stateServer(socket: string, { generation }: Surroundings): Directive {
  return block(
    'server',
    [],
    [
      directive('listen', raw(`unix:${socket}`)),
      directive('access_log', word('off')),
      block('location', [word('/')], [directive('return', 200, [variable('nginx_version'), ' ', generation])]),
      block('location', [word('='), word('/connections')], [directive('stub_status')]),
    ],
  )
}

/** A prefix is of whole segments. `^~`: no regular expression comes before it. */
function pathLocations({ path }: Match, body: readonly Directive[], isRegex: boolean): Directive[] {
  if (isRegex) return [block('location', [word('~'), raw(`^(?:${path.value})$`)], body)]
  if (path.type === 'Exact') return [block('location', [word('='), raw(path.value)], body)]
  if (path.value === '/') return [block('location', [word('^~'), word('/')], body)]
  return [block('location', [word('='), raw(path.value)], body), block('location', [word('^~'), raw(`${path.value}/`)], body)]
}

function server(file: GatewayFile, version: string, listener: Listener, host: string, locations: readonly Directive[]): Directive {
  const { port, tls, redirectToPort } = listener
  const address = listener.address.includes(':') ? `[${listener.address}]` : listener.address
  const oldHttp2 = !isAtLeast(version, '1.25.1')
  // A plain port takes HTTP/1.1 and HTTP/2 alike from then on; before, only TLS could.
  const http2 = tls === undefined ? hasGrpc(file) && !oldHttp2 : tls.http2
  const flags = [...(host === '' ? ['default_server'] : []), ...(tls === undefined ? [] : ['ssl']), ...(http2 && oldHttp2 ? ['http2'] : [])]
  const head = [
    directive('listen', word(`${address}:${port}`), ...flags.map(word)),
    directive('server_name', raw(host === '' ? '_' : host)),
    ...(http2 && !oldHttp2 ? [directive('http2', word('on'))] : []),
    ...(tls === undefined
      ? []
      : [
          directive('ssl_certificate', raw(tls.certificateFile)),
          directive('ssl_certificate_key', raw(tls.keyFile)),
          directive('ssl_protocols', word('TLSv1.2'), word('TLSv1.3')),
        ]),
  ]
  if (redirectToPort !== undefined) {
    const authority = redirectToPort === 443 ? [variable('host')] : [variable('host'), `:${redirectToPort}`]
    return block('server', [], [...head, directive('return', 308, ['https://', ...authority, variable('request_uri')])])
  }
  // Here they are known to nginx. Set where every request comes by, the question to the verifier would empty them on its way.
  const known = [routeVariable, corsVariable, ...verdictVariables.map(([each]) => each)].map((each) =>
    directive('set', word(`$${each}`), raw('')),
  )
  return block(
    'server',
    [],
    [
      ...head,
      ...errorPages(),
      block('if', [word(`($${refusedVariable})`)], [directive('return', 400)]),
      ...locations,
      ...(locations.some((each) => each.args.some((arg) => 'word' in arg && arg.word === '/'))
        ? []
        : [block('location', [word('/')], [directive('return', 404)])]),
      block('location', [word('^~'), word(ownPrefix)], [...known, directive('return', 404)]),
      ...(file.routes.some(isVerified) ? [verifyLocation(), deniedLocation()] : []),
      ...grpcLocations(file, file.routes.some(isVerified)),
      ...problemLocations(),
    ],
  )
}

/** The question to the verifier: nothing of the request but what it needs, and never its body. */
function verifyLocation(): Directive {
  return block(
    'location',
    [word('='), word(verifyPath)],
    [
      directive('internal'),
      directive('client_max_body_size', 0),
      directive('proxy_pass_request_body', word('off')),
      directive('proxy_pass_request_headers', word('off')),
      directive('proxy_set_header', word('Content-Length'), raw('')),
      directive('proxy_set_header', word('Connection'), raw('')),
      directive('proxy_set_header', word('Host'), word('verifier')),
      directive('proxy_set_header', word(verdictHeaders.route), [variable(routeVariable)]),
      directive('proxy_set_header', word(verdictHeaders.clientAddress), [variable('remote_addr')]),
      directive('proxy_set_header', word('Authorization'), [variable('http_authorization')]),
      directive('proxy_buffer_size', word('32k')),
      directive('proxy_buffers', 4, word('32k')),
      directive('proxy_connect_timeout', word('500ms')),
      directive('proxy_read_timeout', word('5s')),
      directive('proxy_pass', [`http://${verifierUpstream}`]),
    ],
  )
}

/** Says what the verifier said; nothing from it means that nobody can be let in. */
function deniedLocation(): Directive {
  const detail = { variable: 'platform_detail' }
  const says = (status: string, then: Directive): Directive =>
    block('if', [word('($platform_status'), word('='), word(`${status})`)], [then])
  return block(
    'location',
    [word('@denied')],
    [
      ...problemHeaders(deniedExtras()),
      ...errorPages(),
      says('401', returnProblem(401, 'Unauthorized', detail)),
      says('403', returnProblem(403, 'Forbidden', detail)),
      says('429', returnProblem(429, 'Too Many Requests', detail)),
      says('200', returnProblem(500, 'Internal Server Error')),
      directive('return', 503),
    ],
  )
}
