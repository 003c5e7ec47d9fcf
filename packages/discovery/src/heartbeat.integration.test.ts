import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('./busy-instance.fixture.ts', import.meta.url))

/** Signs of life that an agent got while a process that is registered with a TTL of 1 s was blocked for 5 s. */
async function signsWhileBlocked(stallGraceMs: number): Promise<number[]> {
  const signs: number[] = []
  const agent = createServer((request, response) => {
    if (request.url!.includes('/check/pass/')) signs.push(performance.now())
    const entry = { ID: 'me', Service: 'me', Address: '127.0.0.1', Port: 1, Meta: {}, Weights: { Passing: 1 } }
    response.end(request.url!.startsWith('/v1/agent/service/me') ? JSON.stringify(entry) : '')
  }).listen(0, '127.0.0.1')
  onTestFinished(() => agent.close().closeAllConnections())
  await new Promise((resolve) => agent.once('listening', resolve))
  const url = `http://127.0.0.1:${(agent.address() as AddressInfo).port}`
  const child = spawn(process.execPath, ['--conditions=@platform/source', program, url, String(stallGraceMs)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const said = (text: string) =>
    new Promise<number>((resolve) => child.stdout.on('data', (chunk) => String(chunk).includes(text) && resolve(performance.now())))
  const [from, to] = await Promise.all([said('blocked'), said('free')])
  const code = await new Promise((resolve) => child.once('exit', resolve))
  expect(code, 'the worker does not hold the process').toBe(0)
  return signs.filter((at) => at > from + 100 && at < to - 100).map((at) => at - from)
}

it('a busy loop does not stop the signs of life; a process that hangs for longer than the grace does', async () => {
  // One after the other: each needs a processor to itself and a bit of another one.
  const long = await signsWhileBlocked(30_000)
  const short = await signsWhileBlocked(2000)
  const none = await signsWhileBlocked(0)
  expect(long.length).toBeGreaterThanOrEqual(4)
  expect(Math.max(...long)).toBeGreaterThan(3500)
  expect(short.length).toBeGreaterThanOrEqual(1)
  expect(Math.max(...short)).toBeLessThan(3000)
  expect(none).toEqual([])
}, 120_000)
