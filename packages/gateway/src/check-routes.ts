/** What the schema cannot see: names that nothing has, routes that contradict, hide or cannot do what they say. */
import { mostCandidates } from './compile/dispatch.ts'
import { pathKey } from './compile/names.ts'
import type { Finding, Path } from './read-file.ts'
import { isPcre, regexTouches } from './regex.ts'
import { answerHeaders, platformHeaders } from './headers.ts'
import type { GatewayFile, Match, Route } from './gateway-file.ts'

/** Paths of the gateway itself. */
export const ownPrefix = '/_platform'

interface Placed {
  route: Route
  match: Match
  path: Path
}

export function checkRoutes(file: GatewayFile): Finding[] {
  const findings: Finding[] = []
  const refuse = (path: Path, problem: string): void => void findings.push({ path, problem })
  checkListeners(file, refuse)
  checkUnique(
    file.routes.map(({ name }) => name),
    (place) => refuse(['routes', place, 'name'], 'another route has this name'),
  )
  for (const [place, route] of file.routes.entries()) checkRoute(file, route, ['routes', place], refuse)
  for (const placed of byHost(file).values()) {
    checkConflicts(placed, refuse)
    checkShadows(placed, refuse)
    checkSharedPaths(placed, refuse)
  }
  return findings
}

type Refuse = (path: Path, problem: string) => void

function checkUnique(values: readonly string[], found: (place: number) => void): void {
  const seen = new Set<string>()
  for (const [place, value] of values.entries()) {
    if (seen.has(value)) found(place)
    seen.add(value)
  }
}

function checkListeners({ listeners, identityProviders }: GatewayFile, refuse: Refuse): void {
  checkUnique(
    listeners.map(({ port }) => String(port)),
    (place) => refuse(['listeners', place, 'port'], 'another listener has this port'),
  )
  for (const [place, { redirectToPort, tls }] of listeners.entries()) {
    const target = listeners.find(({ port }) => port === redirectToPort)
    if (redirectToPort !== undefined && tls !== undefined)
      refuse(['listeners', place, 'redirectToPort'], 'a TLS listener has nothing to redirect')
    if (redirectToPort !== undefined && target?.tls === undefined)
      refuse(['listeners', place, 'redirectToPort'], 'no TLS listener has this port')
  }
  for (const [name, { identityHeaders }] of Object.entries(identityProviders)) {
    for (const [place, header] of identityHeaders.entries()) {
      if (isOurs(header.name))
        refuse(['identityProviders', name, 'identityHeaders', place, 'name'], 'this header is set by the gateway itself')
    }
    checkUnique(
      identityHeaders.map((header) => header.name.toLowerCase()),
      (place) => refuse(['identityProviders', name, 'identityHeaders', place, 'name'], 'another claim is told by this header'),
    )
  }
}

function checkRoute(file: GatewayFile, route: Route, at: Path, refuse: Refuse): void {
  const redirect = route.filters.some((filter) => 'requestRedirect' in filter)
  if (redirect && route.backendRefs.length > 0) refuse([...at, 'backendRefs'], 'a redirect sends nothing to a service')
  if (redirect && (route.auth !== 'public' || route.rateLimit !== undefined)) {
    refuse([...at, 'auth'], 'a redirect is public and without a limit: nginx answers it before anybody is asked')
  }
  if (!redirect && route.backendRefs.length === 0) refuse(at, 'has neither backendRefs nor a redirect')
  if (route.backendRefs.length > 0 && route.backendRefs.every(({ weight }) => weight === 0)) {
    refuse([...at, 'backendRefs'], 'every weight is 0')
  }
  for (const [place, { name }] of route.backendRefs.entries()) {
    if (!Object.hasOwn(file.services, name)) refuse([...at, 'backendRefs', place, 'name'], `no service is called ${name}`)
  }
  checkUnique(
    route.backendRefs.map(({ name }) => name),
    (place) => refuse([...at, 'backendRefs', place, 'name'], 'this service stands there twice'),
  )
  if (new Set(route.backendRefs.map(({ name }) => file.services[name]?.tls?.caFile)).size > 1)
    refuse([...at, 'backendRefs'], 'the services of one route are asked alike: all by https with one caFile, or none')
  if (route.auth !== 'public' && !Object.hasOwn(file.identityProviders, route.auth.jwt)) {
    refuse([...at, 'auth', 'jwt'], `no identity provider is called ${route.auth.jwt}`)
  }
  if (route.rateLimit?.by === 'consumer' && route.auth === 'public') {
    refuse([...at, 'rateLimit', 'by'], 'a public route has no consumers; limit it by ip')
  }
  if (route.grpc) checkGrpc(route, at, refuse)
  checkFilters(file, route, at, refuse)
  for (const [place, match] of route.matches.entries()) checkMatch(match, [...at, 'matches', place], refuse)
}

/** What has no meaning for gRPC, or for which it has its own way. */
function checkGrpc({ webSocket, streaming, filters, matches }: Route, at: Path, refuse: Refuse): void {
  if (webSocket) refuse([...at, 'webSocket'], 'a gRPC route has no WebSockets')
  if (streaming) refuse([...at, 'streaming'], 'a gRPC route streams anyway')
  for (const [place, filter] of filters.entries()) {
    const [kind] = Object.keys(filter)
    if (kind !== 'requestHeaderModifier' && kind !== 'responseHeaderModifier')
      refuse([...at, 'filters', place], `a gRPC route has no ${kind}`)
  }
  for (const [place, { method }] of matches.entries()) {
    if (method !== undefined && method !== 'POST') refuse([...at, 'matches', place, 'method'], 'gRPC asks by POST')
  }
}

function checkFilters(file: GatewayFile, { filters, matches }: Route, at: Path, refuse: Refuse): void {
  const kinds = filters.map((filter) => Object.keys(filter)[0]!)
  checkUnique(kinds, (place) => refuse([...at, 'filters', place], `there is another ${kinds[place]}`))
  const identity = new Set(
    Object.values(file.identityProviders).flatMap(({ identityHeaders }) => identityHeaders.map((each) => each.name.toLowerCase())),
  )
  for (const [place, filter] of filters.entries()) {
    const path = [...at, 'filters', place]
    if ('requestHeaderModifier' in filter) {
      const { set, remove } = filter.requestHeaderModifier
      for (const name of [...set.map((each) => each.name), ...remove]) {
        if (isOurs(name) || identity.has(name.toLowerCase()))
          refuse([...path, 'requestHeaderModifier'], `${name} is set by the gateway itself`)
      }
      checkUnique(
        [...set.map((each) => each.name), ...remove].map((name) => name.toLowerCase()),
        () => refuse([...path, 'requestHeaderModifier'], 'names a header twice'),
      )
    }
    if ('responseHeaderModifier' in filter) {
      const names = [...filter.responseHeaderModifier.set.map((each) => each.name), ...filter.responseHeaderModifier.remove].map((name) =>
        name.toLowerCase(),
      )
      for (const name of names.filter((each) => answerHeaders.has(each))) {
        refuse([...path, 'responseHeaderModifier'], `${name} is set by the gateway itself`)
      }
      checkUnique(names, () => refuse([...path, 'responseHeaderModifier'], 'names a header twice'))
    }
    if ('urlRewrite' in filter && 'replacePrefixMatch' in filter.urlRewrite.path) {
      if (matches.some((match) => match.path.type !== 'PathPrefix')) {
        refuse([...path, 'urlRewrite'], 'replacePrefixMatch needs matches by PathPrefix')
      }
    }
    if ('urlRewrite' in filter && kinds.includes('requestRedirect')) refuse([...path, 'urlRewrite'], 'a redirect rewrites nothing')
  }
}

function isOurs(name: string): boolean {
  return platformHeaders.has(name.toLowerCase())
}

function checkMatch({ path, headers }: Match, at: Path, refuse: Refuse): void {
  const value = [...at, 'path', 'value']
  if (path.type === 'RegularExpression') {
    const problem = isPcre(path.value)
    if (problem !== undefined) refuse(value, problem)
  } else {
    // nginx compares the decoded path, and the gateway refuses these on the raw one: such a route would never be reached.
    if (/\/\/|\/\.{1,2}(?:\/|$)|[\\;%?#]/.test(path.value))
      refuse(value, 'no request has such a path: //, /./, /../ and any of \\ ; % ? # are refused')
    if (path.value === ownPrefix || path.value.startsWith(`${ownPrefix}/`)) refuse(value, `${ownPrefix} is the gateway's own`)
    if (path.type === 'PathPrefix' && path.value.length > 1 && path.value.endsWith('/')) refuse(value, 'a prefix ends without /')
  }
  for (const [place, header] of headers.entries()) {
    const problem = header.type === 'RegularExpression' ? isPcre(header.value) : undefined
    if (problem !== undefined) refuse([...at, 'headers', place, 'value'], problem)
  }
  checkUnique(
    headers.map(({ name }) => name.toLowerCase()),
    (place) => refuse([...at, 'headers', place, 'name'], 'this header stands there twice'),
  )
}

/** A route without hostnames is that of all other hosts. */
export function byHost(file: GatewayFile): Map<string, Placed[]> {
  const hosts = new Map<string, Placed[]>([['', []]])
  for (const [place, route] of file.routes.entries()) {
    for (const host of route.hostnames.length === 0 ? [''] : route.hostnames) {
      const there = hosts.get(host) ?? []
      hosts.set(host, there)
      for (const [number, match] of route.matches.entries()) there.push({ route, match, path: ['routes', place, 'matches', number] })
    }
  }
  return hosts
}

/** Two matches that no request can tell apart. */
function checkConflicts(placed: readonly Placed[], refuse: Refuse): void {
  const seen = new Map<string, string>()
  for (const { route, match, path } of placed) {
    const headers = match.headers.map(({ name, type, value }) => JSON.stringify([name.toLowerCase(), type, value])).toSorted()
    for (const method of match.method === undefined ? ['any'] : match.method === 'GET' ? ['GET', 'HEAD'] : [match.method]) {
      const key = JSON.stringify([match.path.type, match.path.value, method, headers])
      const other = seen.get(key)
      if (other !== undefined) {
        refuse(path, other === route.name ? 'stands there twice' : `route ${other} has the same match`)
        break
      }
      seen.set(key, route.name)
    }
  }
}

/** Exact paths come first, then the longest prefix, then regular expressions in their order: one behind a prefix that takes all it can match is never reached. */
function checkShadows(placed: readonly Placed[], refuse: Refuse): void {
  const prefixes = placed.filter(({ match }) => match.path.type === 'PathPrefix')
  const everything = prefixes.find(({ match }) => match.path.value === '/')
  for (const { match, path } of placed) {
    if (match.path.type !== 'RegularExpression') continue
    const over = everything ?? prefixes.find((prefix) => regexTouches(match.path.value, prefix.match.path.value))
    if (over !== undefined)
      refuse(path, `is never reached: the prefix ${over.match.path.value} of route ${over.route.name} comes before it`)
  }
}

/** What nginx decides by the path alone must be the same for all routes of one path. */
function checkSharedPaths(placed: readonly Placed[], refuse: Refuse): void {
  const limits = new Map<string, { route: string; bytes: number }>()
  for (const candidates of Map.groupBy(placed, ({ match }) => pathKey(match)).values()) {
    const extra = candidates[mostCandidates]
    if (extra !== undefined) refuse(extra.path, `more than ${mostCandidates} matches are on one path`)
  }
  for (const { route, match, path } of placed) {
    if (route.maxBodyBytes === undefined) continue
    const key = pathKey(match)
    const other = limits.get(key)
    if (other !== undefined && other.bytes !== route.maxBodyBytes) {
      refuse([...path.slice(0, 2), 'maxBodyBytes'], `route ${other.route} has another limit on the same path`)
    }
    limits.set(key, { route: route.name, bytes: route.maxBodyBytes })
  }
}
