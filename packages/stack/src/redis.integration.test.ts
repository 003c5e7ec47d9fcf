import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { Redis } from 'ioredis'
import { describe, expect, it } from 'vitest'
import { isAlive } from './process-tree.ts'
import { startRedis } from './redis.ts'
import { findServerProcesses } from './run.ts'
import { testRedis } from './testing.ts'

async function ask<T>(url: string, work: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url, { retryStrategy: () => null })
  redis.on('error', () => {})
  try {
    return await work(redis)
  } finally {
    redis.disconnect()
  }
}

describe('startRedis', () => {
  it('answers on 64 databases, is empty after a restart, and leaves neither process nor folder', async () => {
    const server = await startRedis({ fresh: true })
    const { pid, logFile } = server as { pid: number; logFile: string }
    expect(server.version).toMatch(/^\d+\.\d+\.\d+$/)
    expect(await ask(server.url, (redis) => redis.select(63).then(() => redis.set('key', 'value')))).toBe('OK')
    await server.restart()
    expect(server.pid).not.toBe(pid)
    expect(await ask(server.url, (redis) => redis.select(63).then(() => redis.get('key')))).toBeNull()
    const last = server.pid as number
    await server.stop()
    expect(isAlive(last)).toBe(false)
    expect(existsSync(dirname(logFile))).toBe(false)
    await expect(ask(server.url, (redis) => redis.ping())).rejects.toThrow('Connection is closed')
  })

  it('takes a password of the caller, which is in no list of processes', async () => {
    await using server = await startRedis({ fresh: true, credentials: { password: 'my.word' } })
    expect(server.url).toBe(`redis://:my.word@127.0.0.1:${server.port}`)
    expect(await ask(server.url, (redis) => redis.ping())).toBe('PONG')
    expect(findServerProcesses().filter(({ command }) => command.includes('my.word'))).toEqual([])
  })

  it('keeps data over a restart when durable', async () => {
    await using server = await startRedis({ fresh: true, durable: true, settings: { appendfsync: 'always' } })
    await ask(server.url, (redis) => redis.set('key', 'value'))
    await server.kill()
    await server.restart()
    expect(await ask(server.url, (redis) => redis.get('key'))).toBe('value')
  })
})

describe('testRedis', () => {
  it('gives each caller an empty database of its own and empties it at the end', async () => {
    const [one, two] = await Promise.all([testRedis(), testRedis()])
    expect(one.url).not.toBe(two.url)
    await ask(one.url, (redis) => redis.set('mine', '1'))
    expect(await ask(two.url, (redis) => redis.dbsize())).toBe(0)
    await Promise.all([one.close(), two.close()])
    expect(await ask(one.url, (redis) => redis.dbsize())).toBe(0)
  })
})
