import { block, type Directive, type Piece, raw, variable, word } from '../nginx-text.ts'
import { locationPrefix, regexOf, routeVariable } from './names.ts'
import { problemPath } from './problems.ts'

/** Where a 502 of a route leads. */
export const after502: Piece = variable('platform_after_502')

/**
 * "No live upstreams" is a 502 whose last address is the name of the group: nginx was allowed another try and found nobody for it. Where the
 * sentinel was asked before, all instances are passed over: 503; so it is where the sentinel, which speaks no TLS, was all that was left. Else the set has changed between two tries, though others are alive: the request
 * begins once more, with the instances of now.
 */
export function secondStart(sentinel: string): Directive {
  const group = '[^:, ]+$'
  return block(
    'map',
    [word('$upstream_addr'), word('$platform_after_502')],
    [
      { name: 'volatile', args: [] },
      { name: 'default', args: [raw(`${problemPath}/502`)] },
      { name: `~unix:${regexOf(sentinel)}(?:, [^:, ]+)?$`, args: [raw(`${problemPath}/503`)] },
      // A colon by itself stands between what was tried before and after such a start.
      { name: `~^(?!.* : ).*, ${group}`, args: [[locationPrefix, variable(routeVariable)]] },
    ],
  )
}
