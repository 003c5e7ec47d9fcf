/** Answers of the gateway itself, as problem+json (RFC 9457), with the headers that each status needs. */
import { type Argument, block, type Directive, directive, raw, variable, word } from '../nginx-text.ts'
import { corsVariable } from './names.ts'

const titles = {
  400: 'Bad Request',
  404: 'Not Found',
  413: 'Content Too Large',
  414: 'URI Too Long',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
} as const

type Problem = keyof typeof titles

export const problems: readonly Problem[] = Object.keys(titles).map(Number) as Problem[]

/**
 * What nginx says on its own, as one of the problems. `return` in a location does not inherit these: each prints the whole set. `after502` leads
 * elsewhere than to the problem.
 */
export function errorPages(after502: Argument = word(`${problemPath}/502`)): Directive[] {
  const pages: [number, Problem][] = [...problems.map((status): [number, Problem] => [status, status]), [494, 431], [408, 400]]
  return pages
    .filter(([code]) => code !== 431)
    .map(([code, status]) => directive('error_page', code, word('='), code === 502 ? after502 : word(`${problemPath}/${status}`)))
}

/** Paths, not named locations: a request that is none has no path of its own, and nginx takes nobody to a named location without one. */
export const problemPath = '/_platform/problem'

export function problemLocations(): Directive[] {
  return problems.map((status) =>
    block(
      'location',
      [word('='), word(`${problemPath}/${status}`)],
      [
        directive('internal'),
        ...problemHeaders(status === 503 ? [directive('add_header', word('Retry-After'), word('1'), word('always'))] : []),
        returnProblem(status, titles[status]),
      ],
    ),
  )
}

/** Full, because a location that sets one inherits none. */
export function problemHeaders(more: readonly Directive[]): Directive[] {
  return [
    directive('default_type', word('application/problem+json')),
    directive('add_header', word('X-Request-Id'), [variable('request_id')], word('always')),
    directive('add_header', word('Access-Control-Allow-Origin'), [variable(corsVariable)], word('always')),
    directive('add_header', word('Cache-Control'), word('no-store'), word('always')),
    ...more,
  ]
}

export function returnProblem(status: number, title: string, detail?: { variable: string }): Directive {
  const pieces = detail === undefined ? [] : [`"detail":"`, variable(detail.variable), `",`]
  return directive('return', status, [
    `{"type":"about:blank","title":"${title}","status":${status},`,
    ...pieces,
    `"requestId":"`,
    variable('request_id'),
    `"}\\n`.replace('\\n', ''),
  ])
}

/** No service that could answer: the answer of last resort of every upstream, on a socket of nginx's own. */
export function sentinelServer(socket: string): Directive {
  return block(
    'server',
    [],
    [
      directive('listen', raw(`unix:${socket}`)),
      directive('access_log', word('off')),
      block(
        'location',
        [word('/')],
        [
          directive('default_type', word('application/problem+json')),
          directive('add_header', word('Retry-After'), word('1'), word('always')),
          directive('add_header', word('Cache-Control'), word('no-store'), word('always')),
          directive('return', 503, [sentinelBody]),
        ],
      ),
    ],
  )
}

export const sentinelBody =
  '{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"no instance of the service can answer"}'
