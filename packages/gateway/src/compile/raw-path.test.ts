import fc from 'fast-check'
import { expect, it } from 'vitest'
import { refusedPaths, usualPath } from './raw-path.ts'

/** As nginx has them: without regard to case, in the path before any `?`. */
const refused = refusedPaths.map(({ pattern }) => new RegExp(`^[^?]*?${pattern.replaceAll('|$)', '|[?]|$)')}`, 'i'))
const usual = new RegExp(usualPath)

it('lets through at one look only what no rule refuses', () => {
  const piece = fc.constantFrom(
    '/',
    '.',
    '..',
    '//',
    '%2e',
    '%',
    ';',
    '\\',
    '?',
    '#',
    'a',
    'Z9',
    '~',
    '-',
    '%41',
    ' ',
    '\t',
    'é',
    '$',
    "'",
    ':',
  )
  const paths = fc.array(piece, { maxLength: 10 }).map((pieces) => `/${pieces.join('')}`)
  fc.assert(
    fc.property(paths, (path) => !usual.test(path) || !refused.some((rule) => rule.test(path))),
    { numRuns: 20_000 },
  )
  for (const path of ['/', '/films', '/films/7/', '/films/..a/.b', '/films/a.b?x=%2e%2e//;', '/?', "/a+b@c,d=e!$&()*~'"]) {
    expect([path, usual.test(path)]).toEqual([path, true])
  }
  for (const path of ['', '*', '//', '/a//b', '/.', '/..', '/a/../b', '/a/..?x', '/a;b', '/a%41', '/a b']) {
    expect([path, usual.test(path)]).toEqual([path, false])
  }
})
