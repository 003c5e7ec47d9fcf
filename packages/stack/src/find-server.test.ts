import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { findServer, type Wanted } from './find-server.ts'
import { resolveStartOptions } from './options.ts'
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

describe('findServer without an engine that answers', () => {
  beforeEach(() => {
    vi.stubEnv('DOCKER_HOST', 'unix:///nowhere/docker.sock')
  })
  afterEach(() => {
    vi.unstubAllEnvs()
  })

  it('takes the machine first and what the distribution installs last', async () => {
    const options = resolveStartOptions({})
    expect(await findServer(wanted({ find: () => 'here', install: async () => 'installed' }), options)).toEqual({ programs: 'here' })
    expect(await findServer(wanted({ install: async () => 'installed' }), options)).toEqual({ programs: 'installed' })
    await expect(findServer(wanted({}), options)).rejects.toMatchObject({ code: 'ERR_STACK_MISSING' })
  })

  it('gives no container to whoever insists on one, whatever is on the machine or in the environment', async () => {
    vi.stubEnv('PLATFORM_REDIS_URL', 'redis://127.0.0.1:1')
    for (const options of [{ source: 'container' }, { image: 'redis:8.2' }] as const) {
      await expect(startRedis(options)).rejects.toMatchObject({ code: 'ERR_STACK_MISSING', message: expect.stringContaining('engine') })
    }
  })
})
