import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished, vi } from 'vitest'
import { createDiscovery, type ServiceClient, type ServiceClientOptions } from './index.ts'
import { staticInstances } from './registries/static.ts'

const program = fileURLToPath(new URL('./sick-instance.fixture.ts', import.meta.url))
const POLL = { timeout: 60_000, interval: 20 }
const LONG = 180_000
const CALLERS = 8
const COUNT = 5
/** What each would get of evenly spread requests is a fifth; a busy machine blurs what is slow. */
const LITTLE = 0.1

async function start(port = 0) {
  const child = spawn(process.execPath, ['--conditions=@platform/source', program, String(port)], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [line] = (await once(child.stdout!, 'data')) as [Buffer]
  return { child, port: Number(String(line)) }
}

async function shop(options: ServiceClientOptions = {}) {
  const processes = await Promise.all(Array.from({ length: COUNT }, () => start()))
  const origins = processes.map(({ port }) => `http://127.0.0.1:${port}`)
  const discovery = createDiscovery({ registry: staticInstances({ shop: origins }) })
  onTestFinished(() => discovery.close({ timeoutMs: 1000 }))
  return { client: discovery.client('shop', options), origins, sick: processes[0]! }
}

const be = (origin: string, manner: string): Promise<Response> => fetch(`${origin}/be`, { method: 'POST', body: manner })
const hitsOf = async (origin: string): Promise<number> => Number(await (await fetch(`${origin}/hits`)).text())

/** Callers that ask one request after the other until `calls` have ended; what did not end well. */
async function load(client: ServiceClient, calls: number): Promise<unknown[]> {
  const bad: unknown[] = []
  let left = calls
  const caller = async (): Promise<void> => {
    while (left-- > 0) {
      try {
        const response = await client.fetch('/')
        await response.text()
        if (response.status !== 200) bad.push(response.status)
      } catch (error) {
        bad.push(error)
      }
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, caller))
  return bad
}

it.each(['slow in its bodies', 'failing half the time'])(
  'one of five that is %s draws little, and no caller hears of it',
  async (manner) => {
    const { client, origins } = await shop()
    await load(client, 200)
    await be(origins[0]!, manner)
    expect(await load(client, 800)).toEqual([])
    expect((await hitsOf(origins[0]!)) / 800).toBeLessThan(LITTLE)
  },
  LONG,
)

it(
  'no caller hears of one of five that is killed under load, and it is used again as soon as a probe finds it back',
  async () => {
    const { client, origins, sick } = await shop({ probe: { path: '/hits', intervalMs: 200 } })
    await load(client, 200)
    const calls = load(client, 800)
    sick.child.kill('SIGKILL')
    expect(await calls).toEqual([])
    await start(sick.port)
    await vi.waitFor(async () => {
      expect(await load(client, 50)).toEqual([])
      expect(await hitsOf(origins[0]!)).toBeGreaterThan(0)
    }, POLL)
  },
  LONG,
)

it(
  'no caller hears of one of five that freezes under load: its connections stay open and say nothing',
  async () => {
    const { client, sick } = await shop()
    await load(client, 200)
    const calls = load(client, 800)
    sick.child.kill('SIGSTOP')
    expect(await calls).toEqual([])
  },
  LONG,
)

it(
  'no caller hears of one of five that dies and comes back again and again',
  async () => {
    const { client, sick } = await shop()
    let { child } = sick
    for (let flap = 0; flap < 3; flap++) {
      const calls = load(client, 300)
      child.kill('SIGKILL')
      expect(await calls).toEqual([])
      ;({ child } = await start(sick.port))
      expect(await load(client, 100)).toEqual([])
    }
  },
  LONG,
)

it(
  'when all fail they get no more than was asked for, and recover at once',
  async () => {
    const { client, origins } = await shop()
    await load(client, 100)
    await Promise.all(origins.map((origin) => be(origin, 'failing')))
    expect(await load(client, 1000)).toHaveLength(1000)
    const hits = await Promise.all(origins.map(hitsOf))
    expect(hits.reduce((sum, count) => sum + count, 0)).toBeLessThan(1400)
    await Promise.all(origins.map((origin) => be(origin, 'well')))
    expect(await load(client, 200)).toEqual([])
  },
  LONG,
)
