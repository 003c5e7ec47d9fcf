import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, get } from 'node:http'
import { type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createService } from '../index.ts'

type Said = { type: string; port?: number; durationMs?: number; stack?: string[] }
const until = (assert: () => void | Promise<void>) => vi.waitFor(assert, { timeout: 60_000, interval: 20 })
const children = new Set<ChildProcess>()
afterEach(() => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
})

async function stalling() {
  const args = ['--conditions=@platform/source', join(import.meta.dirname, 'stall.fixture.ts')]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  children.add(child)
  const said: Said[] = []
  let rest = ''
  let stderr = ''
  child.stderr.on('data', (chunk) => (stderr += String(chunk)))
  child.stdout.on('data', (chunk) => {
    const lines = (rest + String(chunk)).split('\n')
    rest = lines.pop() ?? ''
    said.push(...lines.map((line) => JSON.parse(line) as Said))
  })
  await until(() => expect({ stderr, said }).toMatchObject({ said: [{ type: 'up' }] }))
  return { child, said, stderr: () => stderr, live: () => status(said[0]!.port!, '/live') }
}

function status(port: number, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    get({ port, host: '127.0.0.1', path, agent: false }, (response) => response.resume().on('end', () => resolve(response.statusCode!))).on(
      'error',
      reject,
    )
  })
}

describe('the watchdog', { timeout: 120_000 }, () => {
  it('sees where the event loop stands still, fails liveness while it does, and lets it pass when it is back', async () => {
    const { child, said, stderr, live } = await stalling()
    expect(await live()).toBe(200)
    child.stdin.write('9000')
    await until(async () => expect(await live()).toBe(503))
    // The main thread may never come back to say it.
    await until(() => expect(stderr()).toContain('countFilmsForTooLong'))
    expect(said).toHaveLength(1)
    await until(() => expect(said).toContainEqual({ type: 'stalled', durationMs: expect.any(Number), stack: expect.any(Array) }))
    const stall = said.find(({ type }) => type === 'stalled')!
    // What it was just calling, such as the getter of the clock, stands above it.
    expect(stall.stack!.slice(0, 3).join('\n')).toMatch(/countFilmsForTooLong .*stall\.fixture\.ts/)
    expect(stall.durationMs).toBeGreaterThan(900)
    await until(async () => expect(await live()).toBe(200))
    child.stdin.end()
    expect(await once(child, 'exit')).toEqual([0, null])
  })

  it('a stall that is short is told and no more', async () => {
    const { child, said, live } = await stalling()
    child.stdin.write('600')
    await until(() => expect(said.map(({ type }) => type)).toContain('stalled'))
    expect(await live()).toBe(200)
  })

  it('a process that is frozen as a whole does not blame its event loop', async () => {
    const { child, said, live } = await stalling()
    child.kill('SIGSTOP')
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    child.kill('SIGCONT')
    expect(await live()).toBe(200)
    child.stdin.write('0')
    await until(() => expect(said.map(({ type }) => type)).toContain('back'))
    expect(said.map(({ type }) => type)).not.toContain('stalled')
  })

  it('says so when its port is taken, and names a wrong option', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const { port } = taken.address() as AddressInfo
    const service = createService({ name: 's', components: {}, watchdog: { port } })
    await expect(service.start()).rejects.toMatchObject({ code: 'ERR_SERVICE_PORT_TAKEN', port })
    taken.close()
    expect(() => createService({ name: 's', components: {}, watchdog: { stallMs: 500, failAfterMs: 400 } })).toThrow(
      expect.objectContaining({ code: 'ERR_SERVICE_OPTION', message: expect.stringContaining('watchdog.failAfterMs') }),
    )
  })
})
