import { createServer, type Server as Listener } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { unprivilegedAccount } from './account.ts'
import { consulVersion } from './consul.ts'
import { startConsul, startNginx, startPostgres, startRedis } from './index.ts'
import { launch } from './launch.ts'
import { findExecutable } from './locate.ts'
import { resolveStartOptions } from './options.ts'
import type { Plan } from './plan.ts'
import { freePort } from './ports.ts'
import { postgresVersion } from './postgres.ts'
import { redisVersion } from './redis.ts'
import { redisCommand } from './redis-wire.ts'

const strangers = new Set<Listener>()
afterEach(() => {
  for (const each of strangers) each.close()
  strangers.clear()
})

/** Takes the port and answers everything as a Redis of version 9.9.9 would answer INFO. */
async function stranger(port: number): Promise<void> {
  const answer = '$19\r\nredis_version:9.9.9\r\n'
  const listener = createServer((socket) => socket.on('error', () => {}).on('data', () => socket.write(answer)))
  strangers.add(listener)
  await new Promise<void>((resolve) => listener.listen(port, '127.0.0.1', resolve))
}

/** A Redis whose port is taken at the worst moment: after it was looked at, before the server listens. */
function robbedPlan(robberies: number): Plan {
  let robbed = 0
  const account = unprivilegedAccount()
  return {
    name: 'redis',
    origin: 'test',
    account,
    stopSignal: 'SIGTERM',
    async prepare(site) {
      if (robbed++ < robberies) await stranger(site.port)
    },
    programs: ({ folder, port, env }) => [
      {
        command: findExecutable('redis-server') ?? 'redis-server',
        args: ['--port', String(port), '--requirepass', 'ours', '--dir', folder],
        env,
        cwd: folder,
        account,
      },
    ],
    url: ({ port }) => `redis://:ours@127.0.0.1:${port}`,
    probe: redisVersion,
  }
}

describe('a port that somebody takes between the draw and the start', () => {
  it('is drawn again', async () => {
    await (await startRedis({ fresh: true })).stop() // so that one is here
    await using server = await launch(robbedPlan(2), resolveStartOptions({ fresh: true }))
    expect(server.version).not.toBe('9.9.9')
    expect(await redisCommand(server.url, 'PING')).toBe('PONG')
  })

  it('fails the start when it was asked for', async () => {
    const port = await freePort()
    const options = resolveStartOptions({ fresh: true, port, startTimeoutMs: 10_000 })
    await expect(launch(robbedPlan(1), options)).rejects.toMatchObject({ code: 'ERR_STACK_PORT_TAKEN' })
  })
})

describe('what answers at the address', () => {
  it('is taken for ours only when it proves it', { timeout: 120_000 }, async () => {
    await using redis = await startRedis({ fresh: true })
    await using postgres = await startPostgres({ fresh: true })
    await using consul = await startConsul({ fresh: true })
    await expect(redisVersion(`redis://:another@127.0.0.1:${redis.port}`)).rejects.toThrow('WRONGPASS')
    await expect(redisVersion(`redis://127.0.0.1:${redis.port}`)).rejects.toThrow('NOAUTH')
    await expect(postgresVersion(postgres.url, 'another')).rejects.toThrow('another PostgreSQL')
    await expect(consulVersion(consul.url, 'another')).rejects.toThrow('another Consul')
  })
})

describe('restarts at once', () => {
  it('happen one after the other, and a stop ends them', async () => {
    await using server = await startRedis({ fresh: true })
    const pids = new Set([server.pid])
    const restarts = Array.from({ length: 3 }, async () => {
      await server.restart()
      pids.add(server.pid)
    })
    await Promise.all(restarts)
    expect(pids.size).toBe(4)
    expect(await redisCommand(server.url, 'PING')).toBe('PONG')
    const [first, second] = [server.restart(), server.restart()]
    const stopping = server.stop()
    await expect(first).rejects.toMatchObject({ code: 'ERR_STACK_STOPPED' })
    await expect(second).rejects.toMatchObject({ code: 'ERR_STACK_STOPPED' })
    await stopping
    expect(server.pid).toBeUndefined()
  })
})

describe('the log', () => {
  it('is there to be read while the server runs', async () => {
    await using server = await startNginx({ config: 'server { listen {{listen}}; }' })
    expect(server.log()).toContain('start worker process')
  })
})
