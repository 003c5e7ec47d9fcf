import { afterEach, describe, expect, it, vi } from 'vitest'
import { missing } from './locate.ts'
import { StackError, startConsul, startPostgres, startRabbitmq, startRedis } from './index.ts'

afterEach(() => {
  vi.unstubAllEnvs()
})

describe('options', () => {
  it.each([
    ['port', () => startRedis({ port: 0 })],
    ['startTimeoutMs', () => startRabbitmq({ startTimeoutMs: 1 })],
    ['stopTimeoutMs', () => startConsul({ stopTimeoutMs: -1 })],
    ['source', () => startPostgres({ source: 'elsewhere' as 'machine' })],
    ['source', () => startRedis({ source: 'machine' as 'container' })],
    ['image', () => startRedis({ image: '--privileged' })],
    ['image', () => startPostgres({ image: 'postgres:17', source: 'machine' })],
    ['durable', () => startRedis({ durable: 'yes' as never })],
    ['settings', () => startConsul({ settings: {} } as never)],
    ['settings', () => startRedis({ settings: 'maxmemory 1mb' as never })],
    ['settings.maxmemory', () => startRedis({ settings: { maxmemory: 5 as never } })],
    ['settings.requirepass', () => startRedis({ settings: { requirepass: 'mine' } })],
    ['settings.port', () => startPostgres({ settings: { port: '1' } })],
    ['install', () => startRedis({ install: 'yes' as never })],
    ['onProgress', () => startRedis({ onProgress: 'loudly' as never })],
  ])('names a wrong %s', async (option, start) => {
    await expect(start()).rejects.toMatchObject({ code: 'ERR_STACK_OPTION', option })
  })

  it('gives the reason of a signal that is aborted already', async () => {
    const reason = new Error('enough')
    await expect(startPostgres({ fresh: true, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })
})

describe('a server from the environment', () => {
  it('is used as it is and never broken', async () => {
    await using owned = await startRedis({ fresh: true })
    vi.stubEnv('PLATFORM_REDIS_URL', owned.url)
    const server = await startRedis()
    expect(server).toMatchObject({ url: owned.url, port: owned.port, version: owned.version, pid: undefined })
    expect(server.origin).toBe('environment (PLATFORM_REDIS_URL)')
    await expect(server.kill()).rejects.toMatchObject({ code: 'ERR_STACK_NOT_OWNED' })
    await expect(server.restart()).rejects.toMatchObject({ code: 'ERR_STACK_NOT_OWNED' })
    expect(() => server.freeze()).toThrow(expect.objectContaining({ code: 'ERR_STACK_NOT_OWNED' }))
    expect(() => server.thaw()).toThrow(expect.objectContaining({ code: 'ERR_STACK_NOT_OWNED' }))
    await server.stop()
    expect((await startRedis()).version).toBe(owned.version)
  })

  it('is not asked for what only an owned one can do', async () => {
    await using owned = await startRedis({ fresh: true })
    vi.stubEnv('PLATFORM_REDIS_URL', owned.url)
    vi.stubEnv('PLATFORM_POSTGRES_URL', 'postgres://127.0.0.1:1')
    const asked: [option: string, () => Promise<unknown>][] = [
      ['port', () => startRedis({ port: 7_000 })],
      ['durable', () => startRedis({ durable: true })],
      ['settings', () => startRedis({ settings: { maxmemory: '1mb' } })],
      ['source', () => startPostgres({ source: 'machine' })],
    ]
    for (const [option, start] of asked) await expect(start()).rejects.toMatchObject({ code: 'ERR_STACK_OPTION', option })
    expect((await startRedis({ durable: false, settings: {} })).port).toBe(owned.port)
  })

  it('is waited for no longer than the caller wants', async () => {
    await using owned = await startRedis({ fresh: true })
    vi.stubEnv('PLATFORM_REDIS_URL', owned.url)
    owned.freeze()
    const reason = new Error('enough')
    const abort = new AbortController()
    const aborted = startRedis({ signal: abort.signal })
    abort.abort(reason)
    await expect(aborted).rejects.toBe(reason)
    const startedAt = performance.now()
    await expect(startRedis({ startTimeoutMs: 200 })).rejects.toMatchObject({ code: 'ERR_STACK_UNREACHABLE' })
    expect(performance.now() - startedAt).toBeLessThan(2_500) // without a bound of ours: the driver's five seconds
    owned.thaw()
  })

  it.each(['not a url', 'http://127.0.0.1:6379', 'redis://'])('is named by a URL of its kind, not by %s', async (text) => {
    vi.stubEnv('PLATFORM_REDIS_URL', text)
    const error = await startRedis().catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ERR_STACK_OPTION', option: 'PLATFORM_REDIS_URL' })
  })

  it('may have an address of IPv6', async () => {
    vi.stubEnv('PLATFORM_REDIS_URL', 'redis://[::1]:1')
    await expect(startRedis()).rejects.toMatchObject({ code: 'ERR_STACK_UNREACHABLE', message: expect.stringContaining('at ::1:1') })
  })

  it('must answer', async () => {
    vi.stubEnv('PLATFORM_REDIS_URL', 'redis://127.0.0.1:1')
    vi.stubEnv('PLATFORM_RABBITMQ_URL', 'amqp://127.0.0.1:1')
    vi.stubEnv('PLATFORM_CONSUL_URL', 'http://127.0.0.1:1')
    vi.stubEnv('PLATFORM_POSTGRES_URL', 'postgres://127.0.0.1:1')
    for (const start of [startRedis, startRabbitmq, startConsul, startPostgres]) {
      await expect(start()).rejects.toMatchObject({ code: 'ERR_STACK_UNREACHABLE' })
    }
  })
})

describe('StackError', () => {
  it('names every way to a missing server and survives a second copy of the package', () => {
    const error = missing({ what: 'Redis', variable: 'PLATFORM_REDIS_URL', program: 'redis-server' }, false)
    expect(error.message).toMatch(/PLATFORM_REDIS_URL.*redis-server.*container engine.*install: true.*PLATFORM_STACK_INSTALL=1.*Debian/)
    expect(StackError.isInstance(error)).toBe(true)
    expect(StackError.isInstance(new Error('other'))).toBe(false)
  })
})
