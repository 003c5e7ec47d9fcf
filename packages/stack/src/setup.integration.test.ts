import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { redisCommand } from './redis-wire.ts'
import { runServers } from './setup.ts'

const source = (name: string) => JSON.stringify(new URL(`./${name}.ts`, import.meta.url).href)
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'platform-stack-test-'))
  for (const name of ['POSTGRES', 'REDIS', 'RABBITMQ', 'CONSUL']) vi.stubEnv(`PLATFORM_${name}_URL`, '')
})
afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true })
})

/** Runs a test runner on a project of two files. */
function run(setup: string, test: string, args: string[]): { status: number | null; said: string } {
  writeFileSync(join(folder, 'setup.mjs'), setup)
  writeFileSync(join(folder, 'one.test.mjs'), test)
  const env = { ...process.env, NODE_OPTIONS: '', VITEST: '', NODE_TEST_CONTEXT: undefined }
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--conditions=@platform/source', ...args], {
    cwd: folder,
    encoding: 'utf8',
    env,
  })
  return { status, said: `${stdout}${stderr}` }
}

const setup = `import { runServers } from ${source('setup')}
const servers = runServers(['redis'])
export default servers
export const globalSetup = servers
export const globalTeardown = () => servers.stop()`

const body = `
  if (!process.env.PLATFORM_REDIS_URL.startsWith('redis://')) throw new Error('no server')
  const place = await testRedis()
  await place.close()`

describe('runServers', () => {
  it('serves a run of vitest', { timeout: 60_000 }, () => {
    const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
    writeFileSync(
      join(folder, 'vitest.config.mjs'),
      `export default { test: { globals: true, globalSetup: './setup.mjs', include: ['*.test.mjs'] } }`,
    )
    const test = `import { testRedis } from ${source('testing')}\nit('has a server', async () => {${body}\n})`
    const { status, said } = run(setup, test, [vitest, 'run', '--root', folder])
    expect(said).toContain('1 passed')
    expect(status).toBe(0)
  })

  it('serves a run of node:test', { timeout: 60_000 }, () => {
    const test = `import { it } from 'node:test'\nimport { testRedis } from ${source('testing')}\nit('has a server', async () => {${body}\n})`
    const { status, said } = run(setup, test, ['--test', '--test-global-setup=setup.mjs', 'one.test.mjs'])
    expect(said).toMatch(/pass 1/)
    expect(status).toBe(0)
  })

  it('serves any runner whose workers inherit its environment, as jest', async () => {
    const servers = runServers(['redis'])
    const stop = await servers()
    const url = String(process.env['PLATFORM_REDIS_URL'])
    expect(await redisCommand(url, 'PING')).toBe('PONG')
    await stop()
    expect(process.env['PLATFORM_REDIS_URL'] ?? '').toBe('')
    await expect(redisCommand(url, 'PING')).rejects.toMatchObject({ code: 'ERR_STACK_UNREACHABLE' })
  })

  it('starts nothing that the environment names', async () => {
    vi.stubEnv('PLATFORM_REDIS_URL', 'redis://127.0.0.1:1')
    const stop = await runServers(['redis'])()
    expect(process.env['PLATFORM_REDIS_URL']).toBe('redis://127.0.0.1:1')
    await stop()
    expect(process.env['PLATFORM_REDIS_URL']).toBe('redis://127.0.0.1:1')
    expect(() => runServers(['mysql' as never])).toThrow(expect.objectContaining({ code: 'ERR_STACK_OPTION' }))
  })
})
