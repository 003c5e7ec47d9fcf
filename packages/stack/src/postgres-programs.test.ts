import { existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { usablePrograms } from './postgres-programs.ts'

let folder: string
/** A build as npm unpacks it: the links are listed, and not there. */
let native: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'platform-stack-test-'))
  native = join(folder, 'native')
  mkdirSync(join(native, 'lib'), { recursive: true })
  writeFileSync(join(native, 'lib/libpq.so.5.18'), 'library')
  const links = [{ source: 'native/lib/libpq.so.5.18', target: 'native/lib/libpq.so.5' }]
  writeFileSync(join(native, 'pg-symlinks.json'), JSON.stringify(links))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

it.each([true, false])('gives whoever may not run install scripts a copy with the links (as root: %s)', (shared) => {
  const copy = join(folder, 'cache/postgres')
  expect(usablePrograms(native, copy, shared)).toBe(copy)
  expect(lstatSync(join(copy, 'lib/libpq.so.5')).isSymbolicLink()).toBe(true)
  expect(existsSync(join(copy, 'lib/libpq.so.5'))).toBe(true)
  expect(usablePrograms(native, copy, shared)).toBe(copy) // copied once
})

it('leaves a complete build where it is, but for root', () => {
  writeFileSync(join(native, 'lib/libpq.so.5'), 'library')
  expect(usablePrograms(native, join(folder, 'cache/postgres'), false)).toBe(native)
  expect(usablePrograms(native, join(folder, 'cache/postgres'), true)).not.toBe(native)
})
