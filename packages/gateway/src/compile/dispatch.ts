/** Which route of one path a request takes: by method and headers, in one map, and from the path's location to the route's own. */
import type { Match, Method, Route } from '../gateway-file.ts'
import { block, type Directive, directive, raw, variable, word } from '../nginx-text.ts'
import { corsLocationOf, corsOf } from './cors.ts'
import { locationOf, regexOf } from './names.ts'
import { errorPages, problemHeaders, returnProblem } from './problems.ts'

export interface Candidate {
  readonly route: Route
  readonly match: Match
}

const firstCode = 560
/** Codes of answers that carry a request to its route: 560 to 599, the last one for preflights. */
export const mostCandidates = 38
const preflightCode = 599

export interface Dispatch {
  /** For `http { }`. */
  readonly maps: readonly Directive[]
  /** What each location of this path holds. */
  readonly body: readonly Directive[]
}

/** `candidates` are those of one path. More specific ones come first: with a method, then with more headers, then in the order of the file. */
export function dispatch(candidates: readonly Candidate[], name: (kind: string) => string): Dispatch {
  const ordered = candidates.toSorted(
    (a, b) =>
      Number(b.match.method !== undefined) - Number(a.match.method !== undefined) || b.match.headers.length - a.match.headers.length,
  )
  const maps: Directive[] = []
  const conditions = new Map<string, string>()
  for (const header of ordered.flatMap(({ match }) => match.headers)) {
    const key = JSON.stringify(header)
    if (conditions.has(key)) continue
    const holds = name('header')
    conditions.set(key, holds)
    const pattern = header.type === 'Exact' ? `^${regexOf(header.value)}$` : `^(?:${header.value})$`
    maps.push(
      block(
        'map',
        [word(`$http_${header.name.toLowerCase().replaceAll('-', '_')}`), word(`$${holds}`)],
        [
          { name: 'default', args: [word('0')] },
          { name: `~${pattern}`, args: [word('1')] },
        ],
      ),
    )
  }
  const chosen = name('dispatch')
  const all = [...conditions.entries()]
  const source = [variable('request_method'), ' ', ...all.map(([, holds]) => variable(holds))]
  const entry = ({ match }: Candidate, place: number): Directive => {
    const needed = new Set(match.headers.map((header) => JSON.stringify(header)))
    const states = all.map(([key]) => (needed.has(key) ? '1' : '.')).join('')
    return { name: `~^(?:${methodsOf(match).join('|')}) ${states}$`, args: [word(String(place + 1))] }
  }
  const known = allowed(ordered)
  const cors = ordered.find(({ route }) => corsOf(route) !== undefined)
  maps.push(
    block(
      'map',
      [source, word(`$${chosen}`)],
      [
        { name: 'default', args: [word('none')] },
        ...ordered.map(entry),
        ...(cors === undefined ? [] : [{ name: '~^OPTIONS ', args: [word('preflight')] }]),
        { name: `~^(?!(?:${known.join('|')}) )`, args: [word('method')] },
      ],
    ),
  )
  return {
    maps,
    body: [
      bodyLimit(ordered),
      directive('recursive_error_pages', word('on')),
      ...errorPages(),
      ...ordered.map(({ route }, place) => directive('error_page', firstCode + place, word('='), word(locationOf(route)))),
      ...(cors === undefined ? [] : [directive('error_page', preflightCode, word('='), word(corsLocationOf(cors.route)))]),
      ...ordered.map((_, place) => when(chosen, String(place + 1), [directive('return', firstCode + place)])),
      ...(cors === undefined ? [] : [when(chosen, 'preflight', [directive('return', preflightCode)])]),
      ...problemHeaders([directive('add_header', word('Allow'), [known.join(', ')], word('always'))]),
      when(chosen, 'method', [returnProblem(405, 'Method Not Allowed')]),
      directive('return', 404),
    ],
  }
}

function when(chosen: string, value: string, then: readonly Directive[]): Directive {
  return block('if', [word(`($${chosen}`), word('='), word(`${value})`)], then)
}

export function methodsOf(match: Match): readonly string[] {
  if (match.method === undefined) return methods
  return match.method === 'GET' ? ['GET', 'HEAD'] : [match.method]
}

export function allowed(candidates: readonly Candidate[]): string[] {
  return [...new Set(candidates.flatMap(({ match }) => methodsOf(match)))].toSorted()
}

const methods: readonly Method[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
const usualBodyBytes = 1_048_576

/** One for all routes of a path. nginx compares what is announced in the path's location and what comes unannounced in the route's: both say it. */
export function bodyLimit(candidates: readonly Candidate[]): Directive {
  const said = candidates.find(({ route }) => route.maxBodyBytes !== undefined)?.route.maxBodyBytes
  // 0 would be no limit for nginx: a stream of gRPC has none unless its route says so.
  const usual = candidates.some(({ route }) => route.grpc) ? 0 : usualBodyBytes
  return directive('client_max_body_size', raw(said === 0 ? '1' : String(said ?? usual)))
}
