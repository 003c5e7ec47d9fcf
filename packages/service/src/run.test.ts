import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, openSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'

type Event = { event: string; message?: string; [field: string]: unknown }
const until = (assert: () => void) => vi.waitFor(assert, { timeout: 60_000, interval: 10 })
const children = new Set<ChildProcess>()
afterEach(() => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
})

function service(mode: string, port = 0, env: Record<string, string | undefined> = {}, stdout: 'pipe' | number = 'pipe') {
  const child = spawn(
    process.execPath,
    ['--conditions=@platform/source', join(import.meta.dirname, 'run.fixture.ts'), mode, String(port)],
    {
      stdio: ['ignore', stdout, 'pipe'],
      env: { ...process.env, ...env },
    },
  )
  children.add(child)
  const events: Event[] = []
  let stderr = ''
  let rest = ''
  child.stderr!.on('data', (chunk) => (stderr += chunk))
  child.stdout?.on('data', (chunk) => {
    const lines = (rest + String(chunk)).split('\n')
    rest = lines.pop() ?? ''
    events.push(...lines.map((text) => JSON.parse(text) as Event))
  })
  const exited = once(child, 'close').then(([code, signal]) => ({ code: code as number | null, signal: signal as string | null }))
  const saw = (event: string) =>
    until(() =>
      expect({ stderr, events: events.map((one) => one.message ?? one.event) }).toMatchObject({ events: expect.arrayContaining([event]) }),
    )
  return { child, events, exited, saw, stderr: () => stderr, port: () => events.find(({ event }) => event === 'ready')?.['port'] as number }
}

// Dozens of processes start here: a busy machine takes its time.
describe('run', { timeout: 300_000 }, () => {
  it('SIGTERM: drains, resolves, and the process ends by itself with 0', async () => {
    const one = service('plain')
    await one.saw('ready')
    one.child.kill('SIGTERM')
    expect(await one.exited).toEqual({ code: 0, signal: null })
    expect(one.events.at(-1)).toEqual({ event: 'run resolved' })
    expect(one.events.find(({ message }) => message === 'service stopped')).toMatchObject({ reason: 'SIGTERM', cut: [] })
  })

  it('a second signal stops fast, with 1 for what was cut', async () => {
    const one = service('slow-drain')
    await one.saw('ready')
    one.child.kill('SIGINT')
    await one.saw('service stops')
    one.child.kill('SIGINT')
    expect(await one.exited).toEqual({ code: 1, signal: null })
    expect(one.events.map(({ event }) => event)).toContain('db closed')
  })

  it('a third signal ends the process at once', async () => {
    const one = service('stuck-close')
    await one.saw('ready')
    one.child.kill('SIGTERM')
    await one.saw('service stops')
    one.child.kill('SIGTERM')
    await one.saw('second signal: stopping fast')
    one.child.kill('SIGTERM')
    expect(await one.exited).toEqual({ code: 1, signal: null })
    expect(one.events.map(({ event }) => event)).not.toContain('db closed')
  })

  it('a signal during the start aborts it cleanly, with 0', async () => {
    const one = service('slow-start')
    await one.saw('starting')
    one.child.kill('SIGTERM')
    expect(await one.exited).toEqual({ code: 0, signal: null })
    expect(one.events.map(({ event }) => event)).toEqual(expect.arrayContaining(['db closed', 'run resolved']))
    expect(one.events.map(({ event }) => event)).not.toContain('ready')
  })

  it('a failed start rejects with its cause and ends with 1', async () => {
    const one = service('bad-start')
    expect(await one.exited).toEqual({ code: 1, signal: null })
    expect(one.stderr()).toContain('ERR_SERVICE_START_FAILED')
    expect(one.stderr()).toContain('database refused')
    expect(one.events.map(({ event }) => event)).toContain('db closed')
  })

  it.each(['throws', 'rejects'])('an error that nobody caught (%s) is logged, closes everything and ends with 1', async (mode) => {
    const one = service(mode)
    expect(await one.exited).toEqual({ code: 1, signal: null })
    expect(one.events.find(({ message }) => message === 'uncaught error: stopping fast')).toMatchObject({ err: 'Error: bug' })
    expect(one.events.map(({ event }) => event)).toContain('db closed')
  })

  it('a signal from before run() is kept, and a second one ends the process as it would any other', async () => {
    const one = service('early')
    await one.saw('loading')
    one.child.kill('SIGTERM')
    expect(await one.exited).toEqual({ code: 0, signal: null })
    expect(one.events.map(({ event }) => event)).toEqual(expect.arrayContaining(['db closed', 'run resolved']))
    expect(one.events.map(({ event }) => event)).not.toContain('ready')
    const two = service('early')
    await two.saw('loading')
    two.child.kill('SIGTERM')
    two.child.kill('SIGINT')
    expect(await two.exited).toMatchObject({ code: null })
  })

  it('SIGHUP from before run() is kept too: it reloads, and the service goes on', async () => {
    const one = service('early')
    await one.saw('loading')
    one.child.kill('SIGHUP')
    await one.saw('reloaded')
    expect(one.events.map(({ event }) => event)).toContain('ready')
    one.child.kill('SIGTERM')
    expect(await one.exited).toEqual({ code: 0, signal: null })
  })

  it('a stop that the program asks for resolves it as a signal does', async () => {
    const one = service('stopped-by-code')
    expect(await one.exited).toEqual({ code: 0, signal: null })
    expect(one.events.map(({ event }) => event)).toEqual(expect.arrayContaining(['db closed', 'run resolved']))
  })

  it('a signal at any of 20 points of the start ends the process with 0, everything closed', async () => {
    const signalAt = async (point: number): Promise<void> => {
      const one = service('steps')
      if (point === 0) await one.saw('service starts')
      else if (point === 19) await one.saw('ready')
      else await one.saw(`step ${point}`)
      one.child.kill('SIGTERM')
      expect(await one.exited).toEqual({ code: 0, signal: null })
      expect(one.events.at(-1)).toEqual({ event: 'run resolved' })
      expect(one.events.map(({ event }) => event)).toContain('db closed')
      expect(one.events.filter(({ message }) => message === 'service stopped')).toMatchObject([{ cut: [], failed: [] }])
    }
    for (let from = 0; from < 20; from += 5) await Promise.all([0, 1, 2, 3, 4].map((next) => signalAt(from + next)))
  })

  it('SIGHUP reloads what can be, and neither ends the service nor its drain', async () => {
    const one = service('plain')
    await one.saw('ready')
    one.child.kill('SIGHUP')
    await one.saw('reloaded')
    one.child.kill('SIGTERM')
    await one.saw('service stops')
    one.child.kill('SIGHUP')
    expect(await one.exited).toEqual({ code: 0, signal: null })
    expect(one.events.filter(({ event }) => event === 'reloaded')).toHaveLength(1)
  })

  it.each(['talks', 'plain'])('ends by itself when nobody reads its output any more (%s)', async (mode) => {
    const one = service(mode)
    await one.saw('ready')
    one.child.stdout?.destroy()
    // A service that says nothing notices at its next line.
    if (mode === 'plain') one.child.kill('SIGTERM')
    const [code, signal] = await once(one.child, 'exit')
    expect([code, signal]).toEqual([1, null])
  })

  it.skipIf(!existsSync('/dev/full'))('goes on when there is no room for its output', async () => {
    const one = service('no-room', 0, {}, openSync('/dev/full', 'w'))
    await until(() => expect(one.stderr()).toContain('output is lost: there is no room for it'))
    await until(() => expect(one.stderr()).toContain('"event":"ready"'))
    one.child.kill('SIGTERM')
    expect(await one.exited).toEqual({ code: 0, signal: null })
    expect(one.stderr()).toContain('"event":"run resolved"')
  })

  it('names what holds the process at the end of the grace period', async () => {
    const one = service('held')
    await one.saw('ready')
    one.child.kill('SIGTERM')
    expect(await one.exited).toEqual({ code: 1, signal: null })
    const report = one.events.find(({ message }) => message === 'the service has stopped, but something holds the process')
    expect(report?.['holds']).toContain('Timeout')
  })
})

describe('a rolling restart', { timeout: 180_000 }, () => {
  it('fails no request: instances behind a balancer are replaced one by one under keep-alive load', async () => {
    const instances = [service('plain'), service('plain')]
    await Promise.all(instances.map((one) => one.saw('ready')))
    let targets = instances.map((one) => one.port())
    let turn = 0
    const balancer = createServer((client) => {
      const upstream = connect(targets[turn++ % targets.length] as number, '127.0.0.1')
      client.pipe(upstream).pipe(client)
      client.on('error', () => upstream.destroy())
      upstream.on('error', () => client.destroy())
    }).listen(0, '127.0.0.1')
    await once(balancer, 'listening')
    const { port } = balancer.address() as AddressInfo

    const agent = new Agent({ keepAlive: true, maxSockets: 8 })
    const failures: string[] = []
    let served = 0
    let stop = false
    const post = () =>
      new Promise<void>((resolve) => {
        const failed = (error: Error) => resolve(void failures.push(error.message))
        const sent = request({ port, host: '127.0.0.1', method: 'POST', agent }, (response) => {
          response
            .on('error', failed)
            .resume()
            .on('end', () => {
              served += 1
              resolve()
            })
        })
        sent.on('error', failed).end('{}')
      })
    const load = Promise.all(
      Array.from({ length: 8 }, async () => {
        while (!stop) await post()
      }),
    )
    const olds = [...instances]
    try {
      for (const old of olds) {
        const next = service('plain')
        await next.saw('ready')
        const before = served
        old.child.kill('SIGTERM')
        await old.saw('service stops')
        // The balancer hears of it late: requests must have been served by the leaving instance until then.
        await until(() => expect(served).toBeGreaterThan(before + 16))
        targets = targets.map((target) => (target === old.port() ? next.port() : target))
        expect(await old.exited).toEqual({ code: 0, signal: null })
        const report = old.events.find(({ message }) => message === 'service stopped')
        expect(report).toMatchObject({ cut: [] })
        expect(report?.['requestsAfterSignal']).toBeGreaterThan(0)
        await until(() => expect(served).toBeGreaterThan(before + 50))
        instances.push(next)
      }
    } finally {
      stop = true
      await load
      agent.destroy()
      balancer.close()
    }
    expect(failures).toEqual([])
    for (const one of instances.slice(2)) one.child.kill('SIGTERM')
    expect(await Promise.all(instances.slice(2).map((one) => one.exited))).toEqual([
      { code: 0, signal: null },
      { code: 0, signal: null },
    ])
  })
})

describe('who is in between', { timeout: 120_000 }, () => {
  it('a package manager is warned of, by its name and script', async () => {
    const one = service('plain', 0, { npm_lifecycle_event: 'start', npm_config_user_agent: 'npm/11.0.0 node/v24.0.0 linux x64' })
    await one.saw('ready')
    const warning = one.events.find(({ message }) => message?.includes('may keep SIGTERM to itself'))
    expect(warning?.message).toContain('npm (script "start")')
  })

  it('and a program that was started by itself is not', async () => {
    const one = service('plain', 0, { npm_lifecycle_event: undefined })
    await one.saw('ready')
    expect(one.events.filter(({ message }) => message?.includes('SIGTERM'))).toEqual([])
  })
})
