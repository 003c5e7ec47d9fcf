import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { connect } from 'amqplib'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { findServer } from './find-server.ts'
import {
  findOrphans,
  findServerProcesses,
  images,
  runId,
  type Server,
  type ServerName,
  startConsul,
  startNginx,
  startPostgres,
  startRabbitmq,
  startRedis,
} from './index.ts'
import { resolveStartOptions } from './options.ts'
import { isAlive } from './process-tree.ts'
import { redisCommand } from './redis-wire.ts'

const source = 'container'
const patience = { timeout: 60_000, interval: 100 }
const config = `server { listen {{listen}}; location / { return 200 'kept'; } }`
const docker = (...args: string[]) => execFileSync('docker', args, { encoding: 'utf8' }).trim()
const ours = () => findServerProcesses().filter(({ owner }) => owner === process.pid)
const containers = () => ours().flatMap(({ container }) => container ?? [])
const volumes = () => docker('volume', 'ls', '--quiet', `--filter=label=platform.stack.run=${runId()}`)

/** Every data folder and log of a test lies here, so that what it leaves behind is seen. */
let place: string
const owners = new Set<ChildProcess>()

beforeEach(() => {
  runId() // so that owners inherit it
  place = mkdtempSync(join(tmpdir(), 'platform-stack-test-'))
  chmodSync(place, 0o755)
  vi.stubEnv('TMPDIR', place)
})

afterEach(() => {
  vi.unstubAllEnvs()
  for (const child of owners) child.kill('SIGKILL')
  owners.clear()
  rmSync(place, { recursive: true, force: true })
})

/** Runs JavaScript as a process of its own; `tell` resolves with its next line. */
function owner(code: string): { child: ChildProcess; tell: () => Promise<string> } {
  const index = new URL('./index.ts', import.meta.url).href
  const args = ['--input-type=module', '-e', `import * as stack from ${JSON.stringify(index)}\n${code}`]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, NODE_OPTIONS: '' } })
  owners.add(child)
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return { child, tell: async () => String((await lines.next()).value) }
}

interface Case {
  start: () => Promise<Server>
  put: (url: string) => Promise<unknown>
  get: (url: string) => Promise<unknown>
}

async function query(url: string, text: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query<{ value: string }>(text)).rows[0]?.value
  } finally {
    await client.end()
  }
}

async function withQueue<T>(
  url: string,
  work: (channel: Awaited<ReturnType<Awaited<ReturnType<typeof connect>>['createConfirmChannel']>>) => Promise<T>,
): Promise<T> {
  const connection = await connect(url)
  connection.on('error', () => {})
  try {
    return await work(await connection.createConfirmChannel())
  } finally {
    await connection.close()
  }
}

const cases: Record<ServerName, Case> = {
  postgres: {
    start: () => startPostgres({ source }),
    put: (url) => query(url, `create table kept as select 'kept' as value`),
    get: (url) => query(url, 'select value from kept'),
  },
  redis: {
    start: () => startRedis({ source, durable: true, settings: { appendfsync: 'always' } }),
    put: (url) => redisCommand(url, 'SET', 'key', 'kept'),
    get: (url) => redisCommand(url, 'GET', 'key'),
  },
  rabbitmq: {
    start: () => startRabbitmq({ source }),
    put: (url) =>
      withQueue(url, async (channel) => {
        // Classic: a quorum queue is forgotten when the broker dies within half a second of its declaration.
        await channel.assertQueue('kept', { durable: true })
        channel.sendToQueue('kept', Buffer.from('kept'), { persistent: true })
        await channel.waitForConfirms()
      }),
    get: (url) =>
      withQueue(url, async (channel) => {
        const message = await channel.get('kept') // not acknowledged, so it goes back
        return message && message.content.toString()
      }),
  },
  consul: {
    start: () => startConsul({ source }),
    put: (url) => fetch(`${url}/v1/kv/key`, { method: 'PUT', body: 'kept' }),
    get: async (url) => (await fetch(`${url}/v1/kv/key?raw`)).text(),
  },
  nginx: {
    start: () => startNginx({ source, config }),
    put: async () => {},
    get: async (url) => (await fetch(url, { headers: { connection: 'close' } })).text(),
  },
}

describe.each(Object.entries(cases))('%s in a container', (name, { start, put, get }) => {
  it('keeps its address and data over a kill while frozen, and leaves nothing', { timeout: 300_000 }, async () => {
    await using server = await start()
    const { url, port } = server
    expect(server.origin).toBe(`container (${images[name as ServerName]})`)
    expect(server.version).toMatch(/^\d+\.\d+/)
    const published = docker('port', ...containers())
    expect(published.split('\n').filter((line) => line !== '' && !line.includes('-> 127.0.0.1:'))).toEqual([])
    await put(url)
    // RabbitMQ writes a new queue's metadata some time after its confirms; what a clean end has written must outlive a kill.
    await server.restart()

    server.freeze()
    const asked = get(url).catch((error: unknown) => error)
    expect(docker('inspect', '--format={{.State.Paused}}', ...containers())).toBe('true')
    server.thaw()
    await asked

    server.freeze()
    await server.kill()
    expect(server.pid).toBeUndefined()
    expect(containers()).toEqual([])
    await server.restart()
    expect(server).toMatchObject({ url, port })
    expect(await get(url)).toBe('kept')

    server.freeze()
    await server.stop()
    expect(ours()).toEqual([])
    expect(volumes()).toBe('')
    expect(readdirSync(place)).toEqual([])
    await expect(server.restart()).rejects.toMatchObject({ code: 'ERR_STACK_STOPPED' })
  })
})

describe('Consul in a container', () => {
  it('checks services on the loopback interface, beside another one', { timeout: 120_000 }, async () => {
    const service = createHttpServer((_request, response) => response.end('well')).listen(0, '127.0.0.1')
    try {
      await using server = await startConsul({ source })
      await using other = await startConsul({ source })
      expect(other.url).not.toBe(server.url)
      const { port } = service.address() as AddressInfo
      const Check = { HTTP: `http://127.0.0.1:${port}`, Interval: '100ms' }
      const body = JSON.stringify({ Name: 'orders', Port: port, Check })
      expect((await fetch(`${server.url}/v1/agent/service/register`, { method: 'PUT', body })).status).toBe(200)
      const passing = async () => (await (await fetch(`${server.url}/v1/health/service/orders?passing`)).json()) as unknown[]
      await expect.poll(passing, patience).toHaveLength(1)
    } finally {
      service.close()
    }
  })
})

describe('where a container comes from', () => {
  it('from the image, before anything is installed, when the program is missing', async () => {
    const found = await findServer(
      {
        what: 'Redis',
        program: 'redis-server',
        image: images.redis,
        find: () => undefined,
        install: () => Promise.reject(new Error('installs')),
      },
      resolveStartOptions({}),
    )
    expect(found.image?.name).toBe(images.redis)
  })

  it('from an image that cannot be pulled: whoever insists is told, anyone else gets the next way', { timeout: 120_000 }, async () => {
    const image = 'redis:no-such-tag'
    await expect(startRedis({ image })).rejects.toMatchObject({ code: 'ERR_STACK_INSTALL', message: expect.stringContaining(image) })
    const lines: string[] = []
    const wanted = { what: 'Redis', program: 'redis-server', image, find: () => undefined, install: async () => 'installed' }
    expect(await findServer(wanted, resolveStartOptions({ onProgress: (line) => lines.push(line) }))).toEqual({ programs: 'installed' })
    expect(lines).toEqual([`pulling ${image}`, expect.stringContaining('failed')])
  })
})

describe('a start in a container that fails', () => {
  it('shows what the server said and leaves only the log', { timeout: 60_000 }, async () => {
    await expect(startRedis({ source, settings: { nonsense: '1' } })).rejects.toMatchObject({
      code: 'ERR_STACK_DIED',
      message: expect.stringContaining('nonsense'),
      logFile: expect.stringContaining(place),
    })
    expect(ours()).toEqual([])
    expect(volumes()).toBe('')
    expect(readdirSync(place)).toHaveLength(1)
  })

  it('says which port is taken after a kill', { timeout: 60_000 }, async () => {
    await using server = await startRedis({ source })
    await server.kill()
    const thief = createServer().listen(server.port, '127.0.0.1')
    await expect(server.restart()).rejects.toMatchObject({ code: 'ERR_STACK_PORT_TAKEN' })
    await new Promise((resolve) => thief.close(resolve))
    await server.restart()
    expect(await redisCommand(server.url, 'PING')).toBe('PONG')
  })

  it('rejects with the reason of its signal, at whatever moment, and leaves nothing', { timeout: 120_000 }, async () => {
    for (const delayMs of [100, 200, 400, 800]) {
      const abort = new AbortController()
      const reason = new Error('enough')
      setTimeout(() => abort.abort(reason), delayMs)
      // Its first start takes longer than any of the delays.
      await expect(startPostgres({ source, signal: abort.signal })).rejects.toBe(reason)
      expect(ours()).toEqual([])
      expect(volumes()).toBe('')
      expect(readdirSync(place)).toEqual([])
    }
  })
})

describe('when the owner of containers dies', () => {
  it('by SIGKILL, every container goes, a frozen one too', { timeout: 300_000 }, async () => {
    const { child, tell } = owner(`
      const source = 'container'
      const servers = await Promise.all([stack.startRedis({ source }), stack.startConsul({ source }), stack.startNginx({ source, config: ${JSON.stringify(config)} })])
      servers[0].freeze()
      console.log('ready')
      setInterval(() => {}, 1000)`)
    expect(await tell()).toBe('ready')
    const its = () => findServerProcesses().filter(({ owner: pid }) => pid === child.pid)
    expect(its().filter(({ container }) => container)).toHaveLength(3)
    expect(volumes().split('\n')).toHaveLength(1)
    child.kill('SIGKILL')
    await expect.poll(its, patience).toEqual([])
    await expect.poll(volumes, patience).toBe('')
    await expect.poll(() => readdirSync(place), patience).toEqual([])
    expect(findOrphans().filter(({ owner: pid }) => pid === child.pid)).toEqual([])
  })

  it('in the middle of a start, nothing is left', { timeout: 120_000 }, async () => {
    for (const delayMs of [150, 300, 600]) {
      const { child, tell } = owner(`
        void stack.startPostgres({ source: 'container' })
        setTimeout(() => { console.log('leaving'); process.exit(0) }, ${delayMs})`)
      await tell()
      await expect.poll(() => findServerProcesses().filter(({ owner: pid }) => pid === child.pid), patience).toEqual([])
      await expect.poll(volumes, patience).toBe('')
      await expect.poll(() => readdirSync(place), patience).toEqual([])
    }
  })
})

describe('when somebody kills', () => {
  it('the supervisor, the owner removes the container', { timeout: 60_000 }, async () => {
    await using server = await startRedis({ source })
    const supervisor = ours().find(({ pid, container }) => pid !== server.pid && container === undefined)
    process.kill(supervisor?.pid as number, 'SIGKILL')
    await expect.poll(ours, patience).toEqual([])
    await expect.poll(volumes, patience).toBe('')
    await expect.poll(() => readdirSync(place), patience).toEqual([])
    await expect(server.restart()).rejects.toMatchObject({ code: 'ERR_STACK_STOPPED' })
  })

  it('the client, the container goes and the handle can start another', { timeout: 60_000 }, async () => {
    await using server = await startRedis({ source })
    const client = server.pid as number
    process.kill(client, 'SIGKILL')
    await expect.poll(() => server.pid, patience).toBeUndefined()
    expect(isAlive(client)).toBe(false)
    expect(containers()).toEqual([])
    await server.restart()
    expect(await redisCommand(server.url, 'PING')).toBe('PONG')
  })
})
