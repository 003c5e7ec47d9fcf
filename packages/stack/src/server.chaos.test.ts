import { spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  findOrphans,
  findServerProcesses,
  runId,
  type Server,
  StackError,
  startConsul,
  startNginx,
  startPostgres,
  startRabbitmq,
  startRedis,
} from './index.ts'
import { embeddedPostgres } from './postgres-programs.ts'
import { isAlive, killTree, processTree } from './process-tree.ts'
import { redisCommand } from './redis-wire.ts'

const patience = { timeout: 30_000, interval: 50 }
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

const ofThisProcess = () => findServerProcesses().filter(({ owner }) => owner === process.pid)

/** Runs JavaScript as a process of its own, in a process group of its own; `tell` resolves with its next line. */
function owner(code: string, wrapper: string[] = []): { child: ChildProcess; tell: () => Promise<string> } {
  const index = new URL('./index.ts', import.meta.url).href
  const program = [process.execPath, '--input-type=module', '-e', `import * as stack from ${JSON.stringify(index)}\n${code}`]
  const [command = '', ...args] = [...wrapper, ...program]
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true, env: { ...process.env, NODE_OPTIONS: '' } })
  owners.add(child)
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return { child, tell: async () => String((await lines.next()).value) }
}

describe('when the owner dies', () => {
  it('by SIGKILL, every server ends, frozen ones too, and no process, folder or log is left', { timeout: 120_000 }, async () => {
    const { child, tell } = owner(`
      const servers = await Promise.all([stack.startPostgres, stack.startRedis, stack.startRabbitmq, stack.startConsul].map((start) => start({ fresh: true })))
      servers[1].freeze()
      console.log(JSON.stringify(servers.map(({ pid }) => pid)))
      setInterval(() => {}, 1000)`)
    const pids = (JSON.parse(await tell()) as number[]).flatMap((pid) => processTree(pid))
    expect(pids.length).toBeGreaterThan(8)
    const marked = findServerProcesses().filter(({ owner: pid }) => pid === child.pid)
    expect(marked.length).toBeGreaterThanOrEqual(process.platform === 'linux' ? 9 : 0)
    expect(readdirSync(place)).toHaveLength(4)
    child.kill('SIGKILL')
    await expect.poll(() => pids.filter(isAlive), patience).toEqual([])
    await expect.poll(() => marked.map(({ pid }) => pid).filter(isAlive), patience).toEqual([])
    await expect.poll(() => readdirSync(place), patience).toEqual([])
    expect(findOrphans().filter(({ owner: pid }) => pid === child.pid)).toEqual([])
  })

  it('by SIGKILL together with the supervisors, every server is found', { timeout: 60_000 }, async () => {
    const { child, tell } = owner(`
      const servers = [await stack.startRedis({ fresh: true }), await stack.startNginx({ config: 'server { listen {{listen}}; }' })]
      console.log(JSON.stringify(servers.map(({ pid }) => pid)))
      setInterval(() => {}, 1000)`)
    const pids = JSON.parse(await tell()) as number[]
    const ofChild = () => findServerProcesses().filter(({ owner: pid }) => pid === child.pid)
    const all = ofChild().map(({ pid }) => pid)
    expect(all).toEqual(expect.arrayContaining(pids))
    const trees = pids.flatMap((pid) => processTree(pid))
    const supervisors = all.filter((pid) => !trees.includes(pid))
    expect(supervisors).toHaveLength(2)
    for (const pid of [...supervisors, child.pid as number]) process.kill(pid, 'SIGKILL')
    await expect.poll(() => [...supervisors, child.pid as number].filter(isAlive), patience).toEqual([])
    const orphans = () => findOrphans().filter(({ owner: pid }) => pid === child.pid)
    expect(orphans().map(({ pid }) => pid)).toEqual(expect.arrayContaining(pids))
    for (const pid of pids) await killTree(pid)
    expect(orphans()).toEqual([])
  })

  it('by SIGKILL at any of twenty moments, nothing is left', { timeout: 120_000 }, async () => {
    const seed = Math.floor(Math.random() * 2 ** 31)
    console.log(`seed ${seed}`)
    let state = seed
    const random = () => (state = (Math.imul(state, 48_271) >>> 0) % 2_147_483_647) / 2_147_483_647
    for (let kill = 0; kill < 20; kill++) {
      const { child, tell } = owner(`
        console.log('begun')
        await Promise.all([stack.startRedis({ fresh: true }), stack.startPostgres({ fresh: true })])
        setInterval(() => {}, 1000)`)
      await tell()
      await sleep(random() * 1_000)
      child.kill('SIGKILL')
      const left = () => findServerProcesses().filter(({ owner: pid }) => pid === child.pid)
      await expect.poll(left, patience).toEqual([])
    }
    await expect.poll(() => readdirSync(place), patience).toEqual([])
  })

  it('by process.exit in the middle of a start, nothing is left', { timeout: 60_000 }, async () => {
    const { child, tell } = owner(`
      void stack.startPostgres({ fresh: true })
      setTimeout(() => { console.log('leaving'); process.exit(0) }, 300)`)
    await tell()
    await expect.poll(() => findServerProcesses().filter(({ owner: pid }) => pid === child.pid), patience).toEqual([])
    await expect.poll(() => readdirSync(place), patience).toEqual([])
  })
})

describe('SIGINT to the foreground group', () => {
  it('reaches the owner alone, which then stops its server in order', { timeout: 60_000 }, async () => {
    const { child, tell } = owner(`
      const server = await stack.startRedis({ fresh: true })
      const alive = setInterval(() => {}, 1000)
      process.on('SIGINT', async () => {
        await new Promise((resolve) => setTimeout(resolve, 200))
        console.log(server.pid === undefined ? 'lost' : 'still there')
        await server.stop()
        clearInterval(alive)
      })
      console.log('ready')`)
    await tell()
    const ended = new Promise((resolve) => child.once('exit', resolve))
    process.kill(-(child.pid as number), 'SIGINT')
    expect(await tell()).toBe('still there')
    expect(await ended).toBe(0)
    expect(readdirSync(place)).toEqual([])
  })
})

describe('when the supervisor is killed', () => {
  it('the owner ends the server, and the handle says so', async () => {
    await using server = await startPostgres({ fresh: true })
    const tree = processTree(server.pid as number)
    const supervisor = ofThisProcess().find(({ pid }) => !tree.includes(pid))
    process.kill(supervisor?.pid as number, 'SIGKILL')
    await expect.poll(() => tree.filter(isAlive), patience).toEqual([])
    await expect.poll(() => readdirSync(place), patience).toEqual([])
    await expect(server.restart()).rejects.toMatchObject({ code: 'ERR_STACK_STOPPED' })
    await server.stop()
    expect(readdirSync(place)).toEqual([])
  })
})

describe('freeze and thaw', () => {
  it('hold and continue every process, also those with sessions of their own', async () => {
    await using server = await startPostgres({ fresh: true })
    const client = new pg.Client({ connectionString: server.url })
    await client.connect()
    server.freeze()
    const answer = client.query('select 1 as one').then(({ rows }) => rows)
    expect(await Promise.race([answer, sleep(500, 'nothing')])).toBe('nothing')
    server.thaw()
    expect(await answer).toEqual([{ one: 1 }])
    await client.end()
  })

  it.each([
    ['PostgreSQL', startPostgres],
    ['Redis', startRedis],
    ['RabbitMQ', startRabbitmq],
    ['Consul', startConsul],
  ])(
    '%s: a frozen server can be killed, restarted and stopped',
    { timeout: 120_000 },
    async (_name, start: (options: { fresh: true }) => Promise<Server>) => {
      await using server = await start({ fresh: true })
      const { url, port } = server
      const first = processTree(server.pid as number)
      server.freeze()
      await server.kill()
      expect(first.filter(isAlive)).toEqual([])
      await server.restart()
      expect(server).toMatchObject({ url, port })
      const second = processTree(server.pid as number)
      server.freeze()
      await server.stop()
      expect(second.filter(isAlive)).toEqual([])
      expect(ofThisProcess()).toEqual([])
      expect(readdirSync(place)).toEqual([])
      await expect(server.restart()).rejects.toMatchObject({ code: 'ERR_STACK_STOPPED' })
      expect(() => server.freeze()).toThrow(StackError)
    },
  )
})

describe('an odd machine', () => {
  const starts = [
    startPostgres,
    startRedis,
    startRabbitmq,
    startConsul,
    (options: { fresh: true }) => startNginx({ ...options, config: 'server { listen {{listen}}; }' }),
  ]

  it('may have spaces, quotes and letters of any alphabet in its paths', { timeout: 120_000 }, async () => {
    const odd = join(place, `it's "ä" 映`)
    mkdirSync(odd)
    chmodSync(odd, 0o755)
    vi.stubEnv('TMPDIR', odd)
    const there: string[] = []
    for (const start of starts) {
      await using server = await start({ fresh: true })
      if (server.logFile?.startsWith(odd)) there.push(server.name)
    }
    expect(there).toEqual(['postgres', 'redis', 'consul', 'nginx']) // RabbitMQ has gone elsewhere
  })

  it('may have a very long path for temporary files', { timeout: 60_000 }, async () => {
    const long = join(place, 'l'.repeat(100))
    mkdirSync(long)
    chmodSync(long, 0o755)
    vi.stubEnv('TMPDIR', long)
    await using server = await startNginx({ config: 'server { listen {{listen}}; }' })
    expect(server.version).toMatch(/^1\./)
  })

  it('may allow few open files and know no home', { timeout: 120_000 }, async () => {
    const { tell } = owner(
      `const servers = await Promise.all([stack.startPostgres, stack.startRedis, stack.startRabbitmq, stack.startConsul].map((start) => start({ fresh: true })))
       console.log(servers.length)
       await Promise.all(servers.map((server) => server.stop()))`,
      ['/bin/sh', '-c', 'ulimit -n 256 && unset HOME XDG_CACHE_HOME && exec "$@"', 'sh'],
    )
    expect(await tell()).toBe('4')
  })

  it('without a folder for temporary files is told so', async () => {
    vi.stubEnv('TMPDIR', join(place, 'nowhere'))
    const failing = startRedis({ fresh: true })
    await expect(failing).rejects.toMatchObject({ code: 'ERR_STACK_SYSTEM' })
  })
})

describe('a start that fails', () => {
  it('says which port is taken, before and after a kill', async () => {
    await using server = await startRedis({ fresh: true })
    await expect(startRedis({ fresh: true, port: server.port })).rejects.toMatchObject({
      code: 'ERR_STACK_PORT_TAKEN',
      message: expect.stringContaining(`127.0.0.1:${server.port}`),
    })
    expect(await redisCommand(server.url, 'PING')).toBe('PONG')
    await server.kill()
    const thief = createServer().listen(server.port, '127.0.0.1')
    await expect(server.restart()).rejects.toMatchObject({ code: 'ERR_STACK_PORT_TAKEN' })
    await new Promise((resolve) => thief.close(resolve))
    await server.restart()
    await server.stop()
    expect(readdirSync(place).filter((name) => !name.endsWith('.log'))).toEqual([])
  })

  it('shows the last lines of a server that may not write its files, and cleans up', { timeout: 60_000 }, async () => {
    embeddedPostgres() // not under the limit
    const { tell } = owner(
      `await stack.startPostgres({ fresh: true }).then((server) => console.log('started'), ({ code, message, logFile }) => console.log(JSON.stringify({ code, message, logFile })))`,
      ['/bin/sh', '-c', 'ulimit -f 1000 && exec "$@"', 'sh'],
    )
    const { code, message, logFile } = JSON.parse(await tell()) as { code: string; message: string; logFile: string }
    expect(code).toBe('ERR_STACK_DIED')
    expect(message).toContain(logFile)
    expect(message).toMatch(/File too large|size limit/i)
    expect(dirname(logFile)).toBe(place)
    expect(readFileSync(logFile, 'utf8')).toContain(message.trim().split('\n').at(-1)?.trim())
    await expect.poll(() => readdirSync(place), patience).toEqual([basename(logFile)])
  })

  it('ends with a wrong setting as soon as the server does', async () => {
    const failing = startPostgres({ fresh: true, settings: { no_such_setting: '1' } })
    await expect(failing).rejects.toMatchObject({ code: 'ERR_STACK_DIED', message: expect.stringContaining('no_such_setting') })
    expect(ofThisProcess()).toEqual([])
  })

  it('keeps to its deadline', async () => {
    await expect(startPostgres({ fresh: true, startTimeoutMs: 100 })).rejects.toMatchObject({ code: 'ERR_STACK_TIMEOUT' })
    expect(ofThisProcess()).toEqual([])
    expect(readdirSync(place).filter((name) => !name.endsWith('.log'))).toEqual([])
  })

  it('rejects with the reason of its signal and leaves nothing', async () => {
    const abort = new AbortController()
    const starting = startPostgres({ fresh: true, signal: abort.signal })
    await expect.poll(() => readdirSync(place), { ...patience, interval: 5 }).toHaveLength(1)
    const reason = new Error('enough')
    abort.abort(reason)
    await expect(starting).rejects.toBe(reason)
    expect(ofThisProcess()).toEqual([])
    expect(readdirSync(place)).toEqual([])
  })
})

describe('the owner', () => {
  it('is not kept alive by a server that it forgot', { timeout: 60_000 }, async () => {
    const { child, tell } = owner(`const server = await stack.startRedis({ fresh: true }); console.log(server.pid)`)
    const pid = Number(await tell())
    await expect.poll(() => child.exitCode, patience).toBe(0)
    await expect.poll(() => isAlive(pid), patience).toBe(false)
    await expect.poll(() => readdirSync(place), patience).toEqual([])
  })
})
