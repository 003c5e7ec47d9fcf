import { block, type Directive, directive, raw, variable, word } from '../nginx-text.ts'
import type { Cors, Route } from '../gateway-file.ts'
import { corsVariable, regexOf } from './names.ts'

export function corsOf(route: Route): Cors | undefined {
  return route.filters.find((filter) => 'cors' in filter)?.cors
}

export const corsLocationOf = (route: Route): string => `@preflight_${route.name}`
const originVariable = (route: Route): string => `platform_origin_${route.name.replaceAll('-', '_')}`

/** The origin, if it is one of those that may ask. */
export function originMap(route: Route, cors: Cors): Directive {
  return block(
    'map',
    [word('$http_origin'), word(`$${originVariable(route)}`)],
    [
      { name: 'default', args: [raw('')] },
      ...cors.allowOrigins.map((origin) => ({ name: `~^${regexOf(origin)}$`, args: [word('$http_origin')] })),
    ],
  )
}

/** In the route's location: its own answers, and the gateway's, say that the page may read them. */
export function setOrigin(route: Route): Directive {
  return directive('set', word(`$${corsVariable}`), [variable(originVariable(route))])
}

export function corsHeaders(cors: Cors): Directive[] {
  return [
    directive('add_header', word('Access-Control-Allow-Origin'), [variable(corsVariable)], word('always')),
    directive('add_header', word('Vary'), word('Origin'), word('always')),
    ...(cors.allowCredentials ? [directive('add_header', word('Access-Control-Allow-Credentials'), word('true'), word('always'))] : []),
    ...(cors.exposeHeaders.length === 0
      ? []
      : [directive('add_header', word('Access-Control-Expose-Headers'), [cors.exposeHeaders.join(', ')], word('always'))]),
  ]
}

/** Answered before anybody asks for a token: a preflight carries none. `allowed` are the methods of the routes on these paths. */
export function preflightLocation(route: Route, cors: Cors, allowed: readonly string[]): Directive {
  const methods = cors.allowMethods.length > 0 ? cors.allowMethods : allowed
  return block(
    'location',
    [word(corsLocationOf(route))],
    [
      setOrigin(route),
      ...corsHeaders(cors),
      directive('add_header', word('Access-Control-Allow-Methods'), [methods.join(', ')], word('always')),
      ...(cors.allowHeaders.length === 0
        ? []
        : [directive('add_header', word('Access-Control-Allow-Headers'), [cors.allowHeaders.join(', ')], word('always'))]),
      directive('add_header', word('Access-Control-Max-Age'), cors.maxAgeSeconds, word('always')),
      directive('return', 204),
    ],
  )
}
