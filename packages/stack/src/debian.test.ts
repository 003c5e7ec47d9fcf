import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type InstallPlaces, installPackages } from './debian.ts'
import type { StackError } from './errors.ts'
import { resolveStartOptions } from './options.ts'

/** Nothing of the machine is touched: the guard, the lock and apt-get lie in here. */
let folder: string
let places: InstallPlaces

/** Stands in for apt-get, notes its calls, and fails to install until the lists were updated. */
const noting = () => `#!/bin/sh
case "$*" in
  *update*) echo update >>${folder}/calls; touch ${folder}/updated ;;
  *install*)
    ${places.policy} redis-server start
    echo "begin $? $(echo "$*" | sed 's/.*recommends //')" >>${folder}/calls
    /bin/sleep 0.1
    echo end >>${folder}/calls
    test -e ${folder}/updated ;;
esac
`

function put(name: string, text: string): void {
  writeFileSync(join(folder, name), text)
  chmodSync(join(folder, name), 0o755)
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'platform-stack-test-'))
  places = { policy: join(folder, 'policy-rc.d'), lock: join(folder, 'lock') }
  put('apt-get', noting())
  put('sleep', '#!/bin/sh\n') // between attempts to update
  vi.stubEnv('PATH', `${folder}:${process.env['PATH']}`)
})

afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true })
})

/** What Debian is told when it asks whether it may start a service: 0 yes, 101 no. */
const policy = () => spawnSync(places.policy, ['redis-server', 'start']).status

describe('installPackages', () => {
  it('updates the lists when it must, forbids services, and lets one installation run at a time', { timeout: 60_000 }, async () => {
    const lines: string[] = []
    const options = resolveStartOptions({ onProgress: (line) => lines.push(line) })
    await Promise.all([installPackages(['one'], options, places), installPackages(['two'], options, places)])
    expect(lines).toHaveLength(2)
    const calls = readFileSync(join(folder, 'calls'), 'utf8').trim().split('\n')
    const [first, second] = calls[0]?.endsWith('one') ? ['one', 'two'] : ['two', 'one']
    expect(calls).toEqual([`begin 101 ${first}`, 'end', 'update', `begin 101 ${first}`, 'end', `begin 101 ${second}`, 'end'])
    expect(existsSync(places.policy)).toBe(false)
  })

  it('says what apt-get said when it fails', { timeout: 60_000 }, async () => {
    put('apt-get', '#!/bin/sh\necho "E: no such package" >&2\nexit 100\n')
    const error = await installPackages(['none'], resolveStartOptions({}), places).then(
      () => undefined,
      (reason: StackError) => reason,
    )
    expect(error).toMatchObject({ code: 'ERR_STACK_INSTALL', message: expect.stringContaining('E: no such package') })
    expect(existsSync(places.policy)).toBe(false)
    rmSync(dirname(String(error?.logFile)), { recursive: true })
  })

  it("leaves somebody else's guard alone", { timeout: 60_000 }, async () => {
    const theirs = '#!/bin/sh\n# by the administrator\nexit 101\n'
    put('policy-rc.d', theirs)
    await installPackages(['one'], resolveStartOptions({}), places)
    expect(readFileSync(places.policy, 'utf8')).toBe(theirs)
  })
})

describe('the guard against services', () => {
  const script = fileURLToPath(new URL('../scripts/install-packages.sh', import.meta.url))

  /** An installation in the middle of apt-get, in a process group of its own. */
  async function installing(): Promise<ChildProcess> {
    put('apt-get', `#!/bin/sh\necho $$ >${folder}/apt-pid\nexec /bin/sleep 30\n`)
    const child = spawn('/bin/sh', [script, places.policy, places.lock, 'one'], { detached: true, stdio: 'ignore' })
    await expect.poll(() => existsSync(join(folder, 'apt-pid')), { timeout: 20_000 }).toBe(true)
    expect(policy()).toBe(101)
    return child
  }
  const ended = (child: ChildProcess) => new Promise((resolve) => child.once('exit', resolve))

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const)(
    'goes with the script when that gets %s',
    { timeout: 60_000 },
    async (signal) => {
      const child = await installing()
      const end = ended(child)
      process.kill(-(child.pid as number), signal)
      await end
      expect(existsSync(places.policy)).toBe(false)
    },
  )

  it('holds while apt-get goes on without its script, and forbids nothing after that', { timeout: 60_000 }, async () => {
    const child = await installing()
    const end = ended(child)
    child.kill('SIGKILL')
    await end
    expect(policy()).toBe(101)
    process.kill(Number(readFileSync(join(folder, 'apt-pid'), 'utf8')), 'SIGKILL')
    await expect.poll(policy, { timeout: 20_000 }).not.toBe(101)
    expect(existsSync(places.policy)).toBe(false)
  })

  it('is known as ours by the next installation when everything was killed at once', { timeout: 60_000 }, async () => {
    const child = await installing()
    const end = ended(child)
    process.kill(-(child.pid as number), 'SIGKILL')
    await end
    expect(existsSync(places.policy)).toBe(true)
    put('apt-get', noting())
    await installPackages(['two'], resolveStartOptions({}), places)
    expect(readFileSync(join(folder, 'calls'), 'utf8')).toContain('begin 101 two')
    expect(existsSync(places.policy)).toBe(false)
  })
})
