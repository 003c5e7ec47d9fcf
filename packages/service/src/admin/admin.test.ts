import { createServer, request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { createHealth } from '@platform/health'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { component, createService, type ServiceOptions } from '../index.ts'

const until = (assert: () => void | Promise<void>) => vi.waitFor(assert, { timeout: 10_000, interval: 5 })
const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  await Promise.all(cleanups.splice(0).map((clean) => clean()))
})

const leveled = () => ({ level: 'info', debug() {}, info() {}, warn() {}, error() {} })
const headers = { authorization: 'Bearer t0ken' }

type Ask = (
  path: string,
  init?: { method?: string; body?: string; headers?: Record<string, string> },
) => Promise<{ status: number; text: string }>

/** `fetch` does not let a caller choose the Host. */
const asking =
  (port: number): Ask =>
  (path, { method = 'GET', body, headers: sent = {} } = {}) =>
    new Promise((resolve, reject) => {
      const outgoing = httpRequest({ port, host: '127.0.0.1', path, method, headers: sent, agent: false }, (response) => {
        let text = ''
        response
          .setEncoding('utf8')
          .on('data', (chunk) => (text += chunk))
          .on('end', () => resolve({ status: response.statusCode ?? 0, text }))
      })
      outgoing.on('error', reject).end(body)
    })

async function up(options: Partial<ServiceOptions>) {
  const service = createService({ name: 's', components: {}, ...options })
  cleanups.push(() => service.stop('test'))
  await service.start()
  return { service, ask: asking(service.adminPort as number) }
}

class Hidden {
  readonly #value = 'hunter2'
  reveal(): string {
    return this.#value
  }
}

describe('the admin listener', () => {
  it('serves probes from the start, metrics and level, with a token for all but the probes', async () => {
    let go = () => {}
    const logger = leveled()
    const service = createService({
      name: 's',
      health: createHealth({ checks: {} }),
      logger,
      admin: { port: 0, token: () => ({ reveal: () => 't0ken' }), metrics: async () => ({ contentType: 'text/plain', body: 'up 1\n' }) },
      components: { a: { ready: () => new Promise((resolve) => (go = resolve)), close: async () => {} } },
    })
    const started = service.start()
    await until(() => expect(service.adminPort).toBeGreaterThan(0))
    const ask = asking(service.adminPort as number)
    await until(async () => expect((await ask('/started')).status).toBe(503))
    expect((await ask('/live')).status).toBe(200)
    go()
    await started
    expect((await ask('/ready')).status).toBe(200)
    expect((await ask('/metrics')).status).toBe(401)
    expect((await ask('/metrics', { headers: { authorization: 'Bearer wrong' } })).status).toBe(401)
    expect(await ask('/metrics', { headers })).toEqual({ status: 200, text: 'up 1\n' })
    expect(await ask('/level', { method: 'PUT', body: 'debug', headers })).toMatchObject({ status: 200, text: 'debug\n' })
    expect(logger.level).toBe('debug')
    expect((await ask('/level', { method: 'DELETE', headers })).status).toBe(405)
    expect((await ask('/nothing', { headers })).status).toBe(404)
    await service.stop('test')
    await expect(ask('/live')).rejects.toThrow('ECONNREFUSED')
  })

  it.each(['evil.example', 'evil.example:80', '127.0.0.1@evil.example', 'localhost.evil.example', 'a b'])(
    'answers only probes to the Host "%s", whoever asks',
    async (host) => {
      const logger = leveled()
      const { ask } = await up({ logger, admin: { port: 0, token: 't0ken' } })
      const changed = await ask('/level', { method: 'PUT', body: 'silent', headers: { ...headers, host } })
      expect([400, 421]).toContain(changed.status)
      expect(logger.level).toBe('info')
      expect([200, 400]).toContain((await ask('/ready', { headers: { host } })).status)
    },
  )

  it('knows itself by address, as localhost, by the name of its machine and by the names that were listed', async () => {
    const { ask } = await up({ logger: leveled(), admin: { port: 0, hosts: ['Orders.internal'] } })
    for (const host of ['10.0.0.7:9090', '[::1]:9090', 'localhost:1', hostname(), 'orders.internal:9090']) {
      expect(await ask('/level', { headers: { host } })).toEqual({ status: 200, text: 'info\n' })
    }
  })

  it('changes nothing without a token, on loopback neither', async () => {
    const logger = leveled()
    const { ask } = await up({ logger, admin: { port: 0 } })
    expect(await ask('/level', { method: 'PUT', body: 'silent' })).toMatchObject({ status: 403 })
    expect(await ask('/level')).toEqual({ status: 200, text: 'info\n' })
  })

  it('an empty token lets nobody in', async () => {
    const { ask } = await up({ logger: leveled(), admin: { port: 0, token: () => '' } })
    expect((await ask('/level', { headers: { authorization: 'Bearer ' } })).status).toBe(401)
  })

  it('serves the metrics of the component that has them, and asks which when two have', async () => {
    const telemetry = () => ({ close: async () => {}, metrics: async () => ({ contentType: 'text/plain', body: 'own 1\n' }) })
    const { ask } = await up({ admin: { port: 0 }, components: { telemetry: telemetry() } })
    expect(await ask('/metrics')).toEqual({ status: 200, text: 'own 1\n' })
    expect(() => createService({ name: 's', admin: { port: 0 }, components: { one: telemetry(), two: telemetry() } })).toThrow(
      /admin\.metrics must say which page to serve: one and two/,
    )
  })

  it('shows state, components and settings with where they come from, to this machine or with a token', async () => {
    const config = {
      close: async () => {},
      current: { db: { url: 'x', password: new Hidden() }, big: 7n },
      revision: 3,
      pendingRestart: [],
      explain: (path: string) => ({ location: `file:${path}`, value: path === 'db.password' ? '[secret]' : path === 'big' ? 7n : 'x' }),
    }
    const pool = { close: async () => {}, check: async () => {}, stats: () => ({ idle: 1 }) }
    const hostile = {
      close: async () => {},
      stats: () => ({
        get size() {
          throw new Error('gone')
        },
      }),
    }
    const components = { config, hostile, pool: component(pool, { needs: ['config'], check: 'shared' }) }
    const { ask } = await up({ version: '1.2.3', admin: { port: 0 }, components })
    expect(JSON.parse((await ask('/status')).text)).toMatchObject({
      service: 's',
      version: '1.2.3',
      state: 'ready',
      components: { pool: { needs: ['config'], check: 'shared', stats: { idle: 1 } }, hostile: { needs: [] } },
    })
    expect(JSON.parse((await ask('/config')).text)).toEqual({
      revision: 3,
      pendingRestart: [],
      settings: {
        'db.url': { value: 'x', from: 'file:db.url' },
        'db.password': { value: '[secret]', from: 'file:db.password' },
        big: { value: '7', from: 'file:big' },
      },
    })
    const open = await up({ admin: { port: 0, host: '0.0.0.0' }, components: {} })
    expect((await open.ask('/status')).status).toBe(404)
  })

  it('shows dead letters without their bodies, and settles one by token only', async () => {
    const settled: string[] = []
    const letter = {
      id: 'm-1',
      key: 'film-7',
      reason: 'handler failed',
      attempt: 5,
      replays: 0,
      deadAt: new Date(0),
      body: '{"card":"4242"}',
    }
    const shipping = {
      count: async () => 1,
      list: async () => [letter],
      replay: async (id: string) => void settled.push(`replay ${id}`),
      discard: async (id: string) => void settled.push(`discard ${id}`),
    }
    const open = await up({ admin: { port: 0, deadLetters: { shipping } } })
    const shown = await open.ask('/dead-letters')
    expect(JSON.parse(shown.text)).toMatchObject({ shipping: { count: 1, letters: [{ id: 'm-1', reason: 'handler failed' }] } })
    expect(shown.text).not.toContain('4242')
    const replay = '/dead-letters?list=shipping&id=m-1&do=replay'
    expect((await open.ask(replay, { method: 'POST' })).status).toBe(403)

    const { ask } = await up({ admin: { port: 0, token: 't0ken', deadLetters: { shipping } } })
    expect((await ask('/dead-letters')).status).toBe(401)
    expect((await ask(replay, { method: 'POST', headers })).status).toBe(200)
    expect((await ask(replay.replace('replay', 'discard'), { method: 'POST', headers })).status).toBe(200)
    expect((await ask(replay.replace('shipping', 'toString'), { method: 'POST', headers })).status).toBe(404)
    expect((await ask(replay.replace('do=replay', 'do=list'), { method: 'POST', headers })).status).toBe(400)
    expect(settled).toEqual(['replay m-1', 'discard m-1'])
  })

  it('a page of the user that throws or hangs is an answer, and a logger that throws is none of its business', async () => {
    const broken = () => {
      throw new Error('closed stream')
    }
    const { ask } = await up({
      logger: { debug: broken, info: broken, warn: broken, error: broken },
      admin: { port: 0, metrics: () => Promise.reject(new Error('no')) },
    })
    expect((await ask('/metrics')).status).toBe(500)
  })

  it('says so when its port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await until(() => expect(other.listening).toBe(true))
    const { port } = other.address() as AddressInfo
    const service = createService({ name: 's', admin: { port }, components: {} })
    await expect(service.start()).rejects.toMatchObject({ code: 'ERR_SERVICE_PORT_TAKEN', port })
    other.close()
  })
})

describe('health made of components', () => {
  it('checks those that ask for it, each in its kind', async () => {
    const check = vi.fn<() => Promise<void>>().mockRejectedValue(new Error('down'))
    const { ask } = await up({
      admin: { port: 0 },
      components: {
        db: component({ check, close: async () => {} }, { check: 'shared' }),
        mail: component({ check, close: async () => {} }, { check: { kind: 'optional', intervalMs: 60_000 } }),
        unchecked: { check: () => Promise.reject(new Error('never asked')), close: async () => {} },
      },
    })
    await until(async () => {
      const { status, text } = await ask('/ready')
      expect(status).toBe(200)
      const { checks, ...rest } = JSON.parse(text)
      expect(rest).toMatchObject({ status: 'warn', state: 'ready' })
      expect(Object.keys(checks)).toEqual(['db', 'mail'])
      expect(checks.db).toMatchObject([{ status: 'fail', output: 'check failed' }])
    })
  })

  it('a critical component that is down takes the service out of readiness', async () => {
    const db = component({ check: () => Promise.reject(new Error('down')), close: async () => {} }, { check: 'critical' })
    const { ask } = await up({ admin: { port: 0 }, components: { db } })
    await until(async () => expect((await ask('/ready')).status).toBe(503))
  })

  it.each([
    ['a component without check()', {}, undefined, 'components.db must have a check()'],
    ['a health of its own beside it', { check: async () => {} }, createHealth({ checks: {} }), 'health cannot stand beside component(db'],
  ])('%s is refused', async (_name, own, health, message) => {
    const db = component({ close: async () => {}, ...own }, { check: 'shared' })
    expect(() => createService({ name: 's', components: { db }, health })).toThrow(
      expect.objectContaining({ code: 'ERR_SERVICE_OPTION', message: expect.stringContaining(message) }),
    )
    await health?.close()
  })
})
