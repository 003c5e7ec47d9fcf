import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { installPackages } from './debian.ts'
import type { StackError } from './errors.ts'
import { resolveStartOptions } from './options.ts'

const guard = '/usr/sbin/policy-rc.d'
const root = process.getuid?.() === 0
let folder: string

/** Stands in for apt-get, notes its calls, and fails to install until the lists were updated. */
const aptGet = (place: string) => `#!/bin/sh
case "$*" in
  *update*) echo update >>${place}/calls; touch ${place}/updated ;;
  *install*)
    echo "begin $(test -x ${guard} && echo guarded) $(echo "$*" | sed 's/.*recommends//')" >>${place}/calls
    /bin/sleep 0.1
    echo end >>${place}/calls
    test -e ${place}/updated ;;
esac
`

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'platform-stack-test-'))
  writeFileSync(join(folder, 'apt-get'), aptGet(folder))
  chmodSync(join(folder, 'apt-get'), 0o755)
  writeFileSync(join(folder, 'sleep'), '#!/bin/sh\n') // between attempts to update
  chmodSync(join(folder, 'sleep'), 0o755)
  vi.stubEnv('PATH', `${folder}:${process.env['PATH']}`)
})

afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true })
})

describe('installPackages', () => {
  it('updates the lists when it must, guards against services, and lets one installation run at a time', { timeout: 60_000 }, async () => {
    const before = existsSync(guard) ? readFileSync(guard, 'utf8') : undefined
    const lines: string[] = []
    const options = resolveStartOptions({ onProgress: (line) => lines.push(line) })
    const both = Promise.allSettled([installPackages(['one'], options), installPackages(['two'], options)])
    const results = await both
    expect(lines).toHaveLength(2)
    // Only root may install: without the guard nothing is tried.
    expect(results.map((result) => result.status)).toEqual(root ? ['fulfilled', 'fulfilled'] : ['rejected', 'rejected'])
    const calls = (root ? readFileSync(join(folder, 'calls'), 'utf8') : '').trim().split('\n')
    const [first = '', second = ''] = calls[0]?.endsWith('one') ? ['one', 'two'] : ['two', 'one']
    const expected = [`begin guarded  ${first}`, 'end', 'update', `begin guarded  ${first}`, 'end', `begin guarded  ${second}`, 'end']
    expect(calls).toEqual(root ? expected : [''])
    expect(existsSync(guard) ? readFileSync(guard, 'utf8') : undefined).toBe(before)
  })

  it('says what apt-get said when it fails', async () => {
    writeFileSync(join(folder, 'apt-get'), '#!/bin/sh\necho "E: no such package" >&2\nexit 100\n')
    const failing = installPackages(['none'], resolveStartOptions({}))
    const error = await failing.then(
      () => undefined,
      (reason: StackError) => reason,
    )
    expect(error).toMatchObject({ code: 'ERR_STACK_INSTALL', message: expect.stringContaining(root ? 'E: no such package' : 'log:') })
    rmSync(dirname(String(error?.logFile)), { recursive: true })
  }, 60_000)
})
