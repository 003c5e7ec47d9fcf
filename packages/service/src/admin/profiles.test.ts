import { request } from 'node:http'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createService, type Service } from '../index.ts'

const record = vi.fn<(event: object) => Promise<void>>()
const warn = vi.fn<(fields: object, message?: string) => void>()
const authorization = 'Bearer t0ken'
let service: Service

const up = async (token: string | undefined): Promise<void> => {
  const logger = { debug() {}, info() {}, warn, error() {} }
  service = createService({
    name: 's',
    components: {},
    logger,
    admin: { port: 0, audit: { record }, ...(token === undefined ? {} : { token }) },
  })
  await service.start()
}

beforeEach(async () => {
  vi.resetAllMocks()
  record.mockResolvedValue()
  await up('t0ken')
})
afterEach(() => service.stop('test'))

const ask = (path: string, init: RequestInit = {}) =>
  fetch(`http://127.0.0.1:${service.adminPort}${path}`, { method: 'POST', headers: { authorization }, ...init })

describe('profiles', () => {
  it('of the CPU show what ran, are written down before, and say what they cost', async () => {
    const answer = ask('/profile/cpu?seconds=1')
    await vi.waitFor(() => expect(warn).toHaveBeenCalledOnce())
    expect(record.mock.calls).toMatchObject([
      [{ action: 'profile.cpu', outcome: 'success', target: { type: 'process', id: String(process.pid) } }],
    ])
    expect(warn.mock.calls[0]![1]).toMatch(/costs/)
    const until = performance.now() + 300
    const busyForTheProfile = () => {
      while (performance.now() < until) Math.sqrt(Math.random())
    }
    busyForTheProfile()
    const { nodes, samples } = (await (await answer).json()) as { nodes: { callFrame: { functionName: string } }[]; samples: number[] }
    expect(nodes.map(({ callFrame }) => callFrame.functionName)).toContain('busyForTheProfile')
    expect(samples.length).toBeGreaterThan(10)
  })

  it('of the heap show what was allocated', async () => {
    const answer = await ask('/profile/heap?seconds=1')
    expect(answer.headers.get('content-disposition')).toMatch(/heapprofile/)
    expect(await answer.json()).toHaveProperty('head')
  })

  it('come one at a time, and a client that leaves makes room for the next', async () => {
    const first = request({ port: service.adminPort, path: '/profile/cpu?seconds=30', method: 'POST', headers: { authorization } })
    first.on('error', () => {}).end()
    await vi.waitFor(() => expect(warn).toHaveBeenCalledOnce())
    expect((await ask('/profile/heap')).status).toBe(409)
    first.destroy()
    await vi.waitFor(async () => expect((await ask('/profile/heap?seconds=1')).status).toBe(200), { timeout: 15_000 })
  })

  it('are not taken when they cannot be written down', async () => {
    record.mockRejectedValue(new Error('disk full'))
    expect((await ask('/profile/cpu?seconds=1')).status).toBe(500)
    expect(warn).not.toHaveBeenCalled()
  })

  it.each(['0', '31', 'x', ''])('of %j seconds are refused', async (seconds) => {
    expect((await ask(`/profile/cpu?seconds=${seconds}`)).status).toBe(400)
  })

  it('need a token, also on loopback', async () => {
    expect((await ask('/profile/cpu', { headers: {} })).status).toBe(401)
    await service.stop('test')
    await up(undefined)
    expect((await ask('/profile/cpu', { method: 'GET' })).status).toBe(404)
  })

  it('say how they are asked for', async () => {
    expect(await (await ask('/profile/cpu', { method: 'GET' })).text()).toMatch(/seconds=1\.\.30.*costs/)
  })
})

describe('a level for a time', () => {
  it('is set by module and seconds, on a logger that can', async () => {
    const overrideLevel = vi.fn<(level: string, options: object) => void>()
    await service.stop('test')
    const logger = { level: 'info', overrideLevel, debug() {}, info() {}, warn, error() {} }
    service = createService({ name: 's', components: {}, logger, admin: { port: 0, token: 't0ken' } })
    await service.start()
    expect((await ask('/level?module=stock&seconds=60', { method: 'PUT', body: 'debug', headers: { authorization } })).status).toBe(200)
    expect(overrideLevel.mock.calls).toEqual([['debug', { module: 'stock', forMs: 60_000 }]])
    overrideLevel.mockImplementation(() => {
      throw new Error('no such level')
    })
    expect((await ask('/level?seconds=60', { method: 'PUT', body: 'loud', headers: { authorization } })).status).toBe(400)
    expect(logger.level).toBe('info')
  })
})
