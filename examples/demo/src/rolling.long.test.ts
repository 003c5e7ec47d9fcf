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

  it('nor of the orders', { timeout: 240_000 }, async () => {
    const unknown = '/orders/01890000-0000-7000-8000-000000000000'
    expect(await roll({ service: 'orders-api', prefix: 'ORDERS', path: unknown }, 100, 2_500)).toContain('proven')
  })
})
