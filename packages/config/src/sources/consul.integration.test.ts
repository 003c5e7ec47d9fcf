import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { testConsul } from '@platform/stack/testing'
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { z } from 'zod'
import { defineConfig, type LoadOptions, secret } from '../index.ts'
import { consulKv } from './consul.ts'

const POLL = { timeout: 60_000, interval: 10 }
const definition = defineConfig({
  schema: z.object({
    size: z.int().positive().default(1),
    hosts: z.array(z.string()).default([]),
    db: z.object({ password: secret(z.string()).optional() }).prefault({}),
  }),
})
async function load(options: LoadOptions) {
  const config = await definition.load({ retryMs: 0, ...options })
  onTestFinished(() => config.close())
  return config
}
const failure = (loading: Promise<unknown>) =>
  loading.then(
    () => expect.fail('it loaded'),
    (error: unknown) => error,
  )

describe('a real agent', () => {
  let place: Awaited<ReturnType<typeof testConsul>>
  beforeAll(async () => {
    place = await testConsul()
    return () => place.close()
  })
  let count = 0
  const fresh = () => `${place.prefix}-${++count}`
  const put = async (key: string, value: string | Buffer) => {
    const answer = await fetch(`${place.url}/v1/kv/${key}`, { method: 'PUT', body: new Uint8Array(Buffer.from(value)) })
    expect(answer.status).toBe(200)
  }
  const remove = async (key: string) => void (await (await fetch(`${place.url}/v1/kv/${key}`, { method: 'DELETE' })).text())

  it('gives settings by their path, says where, and hears of each change within five seconds', async () => {
    const prefix = fresh()
    await put(`${prefix}/size`, '5')
    await put(`${prefix}/hosts`, 'a, b')
    await put(`${prefix}/db/password`, 'from consul')
    await put(`${prefix}/szie`, '9')
    await put(`${prefix}-other/size`, '7')
    const config = await load({ sources: [consulKv({ url: place.url, prefix })], watch: true })
    expect(config.current).toMatchObject({ size: 5, hosts: ['a', 'b'] })
    expect(config.current.db.password?.reveal()).toBe('from consul')
    expect(config.explain('size')).toEqual({ source: `consul:${prefix}`, location: `consul:${prefix}/size`, value: 5 })
    expect(config.warnings).toMatchObject([{ path: 'szie', hint: 'did you mean size?' }])
    const delaysMs: number[] = []
    for (let size = 6; size < 26; size++) {
      const startedAt = performance.now()
      await put(`${prefix}/size`, String(size))
      await vi.waitFor(() => expect(config.current.size).toBe(size), POLL)
      delaysMs.push(performance.now() - startedAt)
    }
    expect(Math.max(...delaysMs)).toBeLessThan(5_000)
  })

  it('keeps the snapshot when a value is wrong or everything is gone, and applies the next good state', async () => {
    const prefix = fresh()
    await put(`${prefix}/size`, '5')
    const config = await load({ sources: [consulKv({ url: place.url, prefix })], watch: true })
    const outcomes: string[] = []
    config.onReload(({ outcome }) => outcomes.push(outcome))
    await put(`${prefix}/size`, 'many')
    await vi.waitFor(() => expect(outcomes).toEqual(['invalid']), POLL)
    await remove(`${prefix}?recurse`)
    await vi.waitFor(() => expect(outcomes).toEqual(['invalid', 'unreachable']), POLL)
    expect(config.current.size).toBe(5)
    await put(`${prefix}/size`, '6')
    await vi.waitFor(() => expect(config.current.size).toBe(6), POLL)
    expect(await config.check()).toBeUndefined()
  })

  it('tells nothing below the prefix apart from nothing wanted', async () => {
    const prefix = fresh()
    const error = await failure(load({ sources: [consulKv({ url: place.url, prefix })] }))
    expect(error).toMatchObject({ code: 'ERR_CONFIG_UNREACHABLE', message: expect.stringContaining(`no key below ${prefix}`) as string })
    expect((await load({ sources: [consulKv({ url: place.url, prefix, optional: true })] })).current.size).toBe(1)
  })

  it('refuses keys that reach a prototype, and values that are no text', async () => {
    const prefix = fresh()
    await put(`${prefix}/__proto__/polluted`, 'yes')
    await put(`${prefix}/db/password`, Buffer.from([0xff, 0xfe]))
    await put(`${prefix}/size`, Buffer.from('5\0'))
    const error = await failure(load({ sources: [consulKv({ url: place.url, prefix })] }))
    expect(error).toMatchObject({
      code: 'ERR_CONFIG_INVALID',
      faults: [
        { path: '__proto__.polluted', expected: 'another key: this one is never accepted' },
        { path: 'db.password', expected: 'text in UTF-8 without NUL characters' },
        { path: 'size', expected: 'text in UTF-8 without NUL characters' },
      ],
    })
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })
})

describe('an agent that lies', () => {
  const entries = (size: number) => JSON.stringify([{ Key: 'app/size', Value: Buffer.from(String(size)).toString('base64') }])

  async function server(handle: RequestListener): Promise<string> {
    const http = createServer(handle)
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      http.closeAllConnections()
      http.close()
    })
    return `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  }

  it.each([
    ['500', 500, 'no'],
    ['a page to log in', 200, '<html>'],
    ['something else as JSON', 200, '{"Key":1}'],
    ['a 404 that is not its own', 404, ''],
  ])('%s: is no settings at the start, and keeps the snapshot later', async (_name, status, body) => {
    let lies = false
    const url = await server((_request, response) => {
      if (lies) return response.writeHead(status).end(body)
      return response.setHeader('x-consul-index', '5').end(entries(5))
    })
    const config = await load({ sources: [consulKv({ url, prefix: 'app' })] })
    lies = true
    expect(await config.reload()).toMatchObject({ outcome: 'unreachable', error: { code: 'ERR_CONFIG_UNREACHABLE' } })
    expect(config.current.size).toBe(5)
    expect(await failure(load({ sources: [consulKv({ url, prefix: 'app' })] }))).toMatchObject({ code: 'ERR_CONFIG_UNREACHABLE' })
    lies = false
    expect(await config.reload()).toMatchObject({ outcome: 'unchanged' })
  })

  it('an index that falls: begins again; one that is 0 or missing: does not spin', async () => {
    const asked: (string | null)[] = []
    let size = 1
    const url = await server((request, response) => {
      const index = new URL(request.url!, 'http://agent').searchParams.get('index')
      asked.push(index)
      if (index === null) return response.setHeader('x-consul-index', '100').end(entries(size))
      size = 2
      return response.setHeader('x-consul-index', index === '100' ? '7' : '0').end(entries(size))
    })
    const config = await load({ sources: [consulKv({ url, prefix: 'app', waitMs: 1_000 })], watch: true })
    await vi.waitFor(() => expect(config.current.size).toBe(2), POLL)
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    expect(asked.filter((index) => index === null).length, 'it began again').toBeGreaterThan(2)
    expect(asked.length).toBeLessThan(40)
  })

  it('an answer of any size is not taken, and a token is asked for anew each time', async () => {
    const tokens: unknown[] = []
    let isLarge = false
    const url = await server((request, response) => {
      tokens.push(request.headers['x-consul-token'])
      response.setHeader('x-consul-index', '5')
      if (!isLarge) return response.end(entries(3))
      const part = Buffer.alloc(2 ** 20, 0x20)
      for (let i = 0; i < 20; i++) response.write(part)
      return response.end('[]')
    })
    let count = 0
    const config = await load({ sources: [consulKv({ url, prefix: 'app', token: () => ({ reveal: () => `token-${++count}` }) })] })
    isLarge = true
    expect(await config.reload()).toMatchObject({ outcome: 'unreachable' })
    expect(tokens).toEqual(['token-1', 'token-2'])
  })

  it('a refusal is not tried again: the operator sees it at once', async () => {
    let asked = 0
    const url = await server((_request, response) => {
      asked++
      response.writeHead(403).end('Permission denied')
    })
    const error = await failure(load({ sources: [consulKv({ url, prefix: 'app' })], retryMs: 60_000 }))
    expect(error).toMatchObject({ code: 'ERR_CONFIG_UNREACHABLE', cause: { status: 403 } })
    expect(asked).toBe(1)
  })
})

it('refuses wrong options', () => {
  expect(() => consulKv({ url: 'consul:8500', prefix: 'a' })).toThrow('url')
  expect(() => consulKv({ url: 'http://consul', prefix: '/a/' })).toThrow('prefix')
  expect(() => consulKv({ url: 'http://consul', prefix: 'a', waitMs: 1 })).toThrow('waitMs')
  expect(() => consulKv({ url: 'http://consul', prefix: 'a', token: '' })).toThrow('token')
})
