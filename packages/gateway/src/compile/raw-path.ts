/**
 * nginx chooses a route by the decoded and cleaned path and hands on the raw one. Where a service may read the raw one otherwise, the request is
 * refused (400): what is looked at is the request line as it came.
 */
import { type Directive, block, raw, variable, word } from '../nginx-text.ts'
import { problemPath } from './problems.ts'

export const refusedVariable = 'platform_refused'
const pathVariable = 'platform_refused_path'

/** Each on the path, before any `?`. */
export const refusedPaths: readonly { pattern: string; what: string }[] = [
  { pattern: '//', what: 'an empty segment: nginx merges them' },
  { pattern: '/\\.{1,2}(?:/|$)', what: 'a dot segment: nginx resolves it' },
  { pattern: '%(?:25)*2[ef]', what: 'an encoded dot or slash, however often encoded' },
  { pattern: '%(?:25)*5c', what: 'an encoded backslash' },
  { pattern: '\\\\', what: 'a backslash: some services take it for a slash' },
  { pattern: '(?:;|%(?:25)*3b)', what: 'a path parameter: some services cut it off' },
  { pattern: '%(?:25)*(?:[01][0-9a-f]|7f)', what: 'an encoded control character' },
  { pattern: '%(?:25)*(?:3f|23)', what: 'an encoded ? or #' },
  { pattern: '%(?![0-9a-f]{2})', what: 'a % that encodes nothing' },
  { pattern: '[\\x00-\\x20\\x7f#]', what: 'a character that no path has' },
]

/** Most paths hold nothing of all that, and one look tells: whole segments of usual characters, none of them `.` or `..`. */
export const usualPath = "^(?=/)(?:/(?![.]{1,2}(?:[/?]|$))[A-Za-z0-9._~!$&'()*+,=:@-]+)*/?(?:[?]|$)"

/** The answer to a refused request is itself found by a path: that one is let through. */
function refusedMap(): Directive {
  return block(
    'map',
    [[variable(pathVariable), ' ', variable('uri')], word(`$${refusedVariable}`)],
    [
      { name: 'volatile', args: [] },
      { name: 'default', args: [raw('')] },
      { name: `~^1 (?!${problemPath}/)`, args: [word('1')] },
    ],
  )
}

function pathMap(): Directive {
  const entries = refusedPaths.map(({ pattern }) => ({ name: `~*^[^?]*?${anchored(pattern)}`, args: [word('1')] }))
  return block(
    'map',
    [word('$request_uri'), word(`$${pathVariable}`)],
    [
      { name: 'default', args: [raw('')] },
      { name: `~${usualPath}`, args: [raw('')] },
      // OPTIONS * and what is no path at all.
      { name: '~^(?!/)', args: [word('1')] },
      ...entries,
    ],
  )
}

/** The end of the path is a `?` or the end of the line. */
function anchored(pattern: string): string {
  return pattern.replaceAll('|$)', '|[?]|$)')
}

export function refusedPathMaps(): Directive[] {
  return [pathMap(), refusedMap()]
}
