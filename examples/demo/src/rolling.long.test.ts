import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { builtCode } from './services.ts'
import { openStore, type Store } from './store.ts'

const command = join(import.meta.dirname, '../node_modules/@platform/service/dist/deploy-proof/cli.js')
const cells = [1, 200, 0].flatMap((rate) => [300, 2_500, 8_000].map((lagMs) => ({ rate, lagMs })))

/** How long the listener outlives what the balancer is told late. */
const spareMs = 2_000

/** As an orchestrator waits between two instances (`minReadySeconds`): the registry and the gateway hear of the new one meanwhile. */
const minReadyMs = 3_000

/** Customers who ask one after the other; `rate` a second together, 0: as often as they are answered. */
function customersAt(url: string, rate: number): { stop(): Promise<{ answered: number; failures: string[] }> } {
  const count = rate === 0 ? 16 : Math.min(16, rate)
  const failures: string[] = []
  let answered = 0
  let isOver = false
  async function customer(): Promise<void> {
    for (let next = performance.now(); !isOver; next += rate === 0 ? 0 : (count / rate) * 1_000) {
      await new Promise((resolve) => setTimeout(resolve, next - performance.now()))
      const failure = await fetch(url, { signal: AbortSignal.timeout(30_000) }).then(
        async (answer) => (await answer.text(), answer.status === 200 ? undefined : String(answer.status)),
        (error: Error) => (error.cause as Error | undefined)?.message ?? error.message,
      )
      if (failure === undefined) answered++
      else failures.push(failure)
    }
  }
  const customers = Array.from({ length: count }, customer)
  return {
    async stop() {
      isOver = true
      await Promise.all(customers)
      return { answered, failures }
    },
  }
}

interface Rolled {
  readonly service: 'catalog-api' | 'orders-api'
  readonly prefix: string
  readonly path: string
}

describe('a service of the store that is replaced under load', () => {
  let store: Store
  beforeAll(async () => {
    store = await openStore({ mode: 'native', launcher: builtCode, onProgress: () => {} })
  }, 240_000)
  afterAll(() => store?.[Symbol.asyncDispose]())

  async function roll({ service, prefix, path }: Rolled, rate: number, lagMs: number): Promise<string> {
    const spec = store.specs.find(({ name }) => name === service)!
    const { args } = builtCode(service, 'main')
    // Its admin listener takes a free port for each instance.
    const env = {
      PATH: process.env['PATH'] ?? '',
      NODE_ENV: 'production',
      ...spec.env,
      [`${prefix}_ADMIN_PORT`]: '0',
      [`${prefix}_HTTP_MIN_DRAIN_MS`]: String(lagMs + spareMs),
    }
    const options = [
      '--port-variable',
      `${prefix}_HTTP_PORT`,
      '--path',
      path,
      '--rate',
      String(rate),
      '--clients',
      '16',
      '--lag-ms',
      String(lagMs),
    ]
    const { stdout } = await promisify(execFile)(process.execPath, [command, ...options, '--', process.execPath, ...args], { env })
    return stdout
  }

  it.each(cells)(
    'fails no request of the catalog at $rate a second (0: all there can be), lag $lagMs ms',
    { timeout: 240_000 },
    async (cell) => {
      const said = await roll({ service: 'catalog-api', prefix: 'CATALOG', path: '/films/1' }, cell.rate, cell.lagMs)
      console.log(said)
      expect(said).toContain('proven')
    },
  )

  it.each([1, 200, 0])(
    'nor does a customer at the door, whose nginx follows Consul, fail at %d a second (0: all there can be)',
    { timeout: 240_000 },
    async (rate) => {
      const instances = store.specs.filter(({ name }) => name === 'catalog-api')
      const replace = async (): Promise<void> => {
        for (const spec of instances) {
          await store.services.restart(spec, AbortSignal.timeout(60_000))
          await new Promise((resolve) => setTimeout(resolve, minReadyMs))
        }
      }
      // The demo's customers ask the instances themselves; here somebody is in between.
      for (const { env } of instances) Object.assign(env, { CATALOG_HTTP_MIN_DRAIN_MS: String(spareMs) })
      await replace()
      const customers = customersAt(`${store.door!.url}/films/1`, rate)
      await replace()
      const { answered, failures } = await customers.stop()
      console.log(`${answered} answered, ${failures.length} failed`)
      expect(failures).toEqual([])
      expect(answered).toBeGreaterThan(5)
    },
  )

  it('nor of the orders', { timeout: 240_000 }, async () => {
    const unknown = '/orders/01890000-0000-7000-8000-000000000000'
    expect(await roll({ service: 'orders-api', prefix: 'ORDERS', path: unknown }, 100, 2_500)).toContain('proven')
  })
})
