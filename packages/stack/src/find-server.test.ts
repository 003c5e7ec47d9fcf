import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { findServer, type Wanted } from './find-server.ts'
import { resolveStartOptions, type StartOptions } from './options.ts'
import { startRedis } from './redis.ts'

const wanted = (parts: Partial<Wanted<string>>): Wanted<string> => ({
  what: 'Redis',
  variable: 'PLATFORM_REDIS_URL',
  program: 'redis-server',
  image: 'redis:8',
  find: () => undefined,
  install: undefined,
  ...parts,
})

beforeEach(() => {
  vi.stubEnv('PLATFORM_STACK_INSTALL', '')
})
afterEach(() => {
  vi.unstubAllEnvs()
})

describe('findServer without an engine that answers', () => {
  beforeEach(() => {
    vi.stubEnv('DOCKER_HOST', 'unix:///nowhere/docker.sock')
  })

  it('takes the machine first and what the distribution installs last, if that is allowed', async () => {
    const install = vi.fn<() => Promise<string>>(async () => 'installed')
    const allowed = resolveStartOptions({ install: true })
    expect(await findServer(wanted({ find: () => 'here', install }), allowed)).toEqual({ programs: 'here' })
    expect(install).not.toHaveBeenCalled()
    expect(await findServer(wanted({ install }), allowed)).toEqual({ programs: 'installed' })
    await expect(findServer(wanted({}), allowed)).rejects.toMatchObject({ code: 'ERR_STACK_MISSING' })
  })

  it('installs nothing that nobody allowed, and names the switch', async () => {
    const install = vi.fn<() => Promise<string>>(async () => 'installed')
    const named = expect.stringMatching(/install: true.*PLATFORM_STACK_INSTALL=1/)
    const refused = findServer(wanted({ install }), resolveStartOptions({}))
    await expect(refused).rejects.toMatchObject({ code: 'ERR_STACK_MISSING', message: named })
    expect(install).not.toHaveBeenCalled()
    vi.stubEnv('PLATFORM_STACK_INSTALL', '1')
    expect(await findServer(wanted({ install }), resolveStartOptions({}))).toEqual({ programs: 'installed' })
    await expect(findServer(wanted({ install }), resolveStartOptions({ install: false }))).rejects.toMatchObject({
      code: 'ERR_STACK_MISSING',
    })
  })

  it('gives no container to whoever insists on one, whatever is on the machine or in the environment', async () => {
    vi.stubEnv('PLATFORM_REDIS_URL', 'redis://127.0.0.1:1')
    for (const options of [{ source: 'container' }, { image: 'redis:8.2' }] as const) {
      await expect(startRedis(options)).rejects.toMatchObject({ code: 'ERR_STACK_MISSING', message: expect.stringContaining('engine') })
    }
  })
})

describe('findServer with an engine that has no image', () => {
  let folder: string
  const calls = () => (existsSync(join(folder, 'calls')) ? readFileSync(join(folder, 'calls'), 'utf8') : '')
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'platform-stack-test-'))
    writeFileSync(join(folder, 'docker'), `#!/bin/sh\necho "$1" >>${folder}/calls\n[ "$1" != image ]\n`)
    chmodSync(join(folder, 'docker'), 0o755)
    vi.stubEnv('PATH', `${folder}:${process.env['PATH']}`)
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  it.each([{}, { source: 'container' }, { image: 'redis:8.2' }] satisfies StartOptions[])(
    'pulls nothing that nobody allowed: %j',
    async (options) => {
      const named = expect.stringMatching(/PLATFORM_STACK_INSTALL=1/)
      const refused = findServer(wanted({}), resolveStartOptions(options))
      await expect(refused).rejects.toMatchObject({ code: 'ERR_STACK_MISSING', message: named })
      expect(calls()).not.toContain('pull')
    },
  )

  it('pulls when it is allowed, and says so', async () => {
    const lines: string[] = []
    const options = resolveStartOptions({ install: true, onProgress: (line) => lines.push(line) })
    expect(await findServer(wanted({}), options)).toMatchObject({ image: { name: 'redis:8' } })
    expect(calls()).toContain('pull')
    expect(lines).toEqual(['pulling redis:8'])
  })
})
