import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createLogger } from './index.ts'

const source = new URL('./index.ts', import.meta.url).href
const telemetry = new URL('../../telemetry/src/index.ts', import.meta.url).href
let directory: string
let children: ChildProcess[] = []
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'platform-logger-'))
})
afterEach(() => {
  for (const child of children) child.kill('SIGKILL')
  children = []
  rmSync(directory, { recursive: true })
})

/** A process that logs to its standard output and tells over IPC. */
function start(script: string, output: number | 'pipe', descriptor = 1) {
  const code = `import { createLogger } from '${source}'\nconst logger = createLogger({ name: 'child', destination: ${descriptor} })\n${script}`
  const child = spawn(process.execPath, ['--conditions=@platform/source', '--input-type=module', '--no-warnings', '-e', code], {
    stdio: descriptor === 1 ? ['ignore', output, 'inherit', 'ipc'] : ['ignore', 'ignore', 'inherit', 'ipc', output],
  })
  children.push(child)
  const ended = new Promise<NodeJS.Signals | number | null>((resolve) => child.once('close', (status, signal) => resolve(signal ?? status)))
  const told = () =>
    new Promise<Record<string, number>>((resolve) => child.once('message', (message) => resolve(message as Record<string, number>)))
  return { child, ended, told }
}
const linesOf = (text: string) => text.split('\n').filter((line) => line !== '')

describe.each(['SIGKILL', 'SIGTERM'] as const)('after %s in the middle of a burst', (signal) => {
  const burst = `for (let index = 0; index < 2000; index++) logger.info({ index }, 'line')`

  it('a file has every line', async () => {
    const path = join(directory, 'out.log')
    const fd = openSync(path, 'w')
    const { ended } = start(`${burst}\nprocess.kill(process.pid, '${signal}')`, fd)
    expect(await ended).toBe(signal)
    closeSync(fd)
    expect(linesOf(readFileSync(path, 'utf8')).map((line) => (JSON.parse(line) as { index: number }).index)).toEqual(
      Array.from({ length: 2000 }, (_, index) => index),
    )
  })

  it('a pipe has every line that it had accepted', async () => {
    const { child, ended, told } = start(`${burst}\nprocess.send(logger.stats(), () => process.kill(process.pid, '${signal}'))`, 'pipe')
    let text = ''
    child.stdout!.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    const stats = await told()
    expect(await ended).toBe(signal)
    const whole = linesOf(text.slice(0, text.lastIndexOf('\n'))).length
    expect(stats).toMatchObject({ dropped: 0 })
    expect(stats['written']! + stats['atRisk']!).toBe(2000)
    // More may have gone out between the message and the end, never less.
    expect(whole).toBeGreaterThanOrEqual(stats['written']!)
  })
})

describe('a reader that stands still', () => {
  const script = `
    for (let index = 0; index < 20000; index++) logger.info({ index, text: 'x'.repeat(index < 30 ? 7000 - index * 97 : 150) }, 'line')
    for (let index = 0; index < 50; index++) logger.error({ index }, 'important')
    process.send(logger.stats())
    process.on('message', async () => { await logger.close({ timeoutMs: 20000 }); process.send(logger.stats(), () => process.disconnect()) })`

  it.each([
    ['socket', 1],
    ['fifo', 1],
    ['fifo', 4],
  ] as const)('neither stops the process nor fills its memory, and errors come through (%s, descriptor %i)', async (kind, descriptor) => {
    const path = join(directory, 'fifo')
    if (kind === 'fifo') execFileSync('mkfifo', [path])
    const fd = kind === 'fifo' ? openSync(path, constants.O_RDWR) : 'pipe'
    const { child, ended, told } = start(script, fd, descriptor)
    const stalled = await told()
    expect(stalled['written']).toBeGreaterThan(0)
    expect(stalled['dropped']).toBeGreaterThan(0)
    expect(stalled['atRisk']! * 200).toBeLessThan(1024 * 1024 + 200 * 1024)
    expect(stalled['written']! + stalled['atRisk']! + stalled['dropped']!).toBe(20_050)

    let text = ''
    const cat = typeof fd === 'number' ? spawn('cat', [path], { stdio: ['ignore', 'pipe', 'inherit'] }) : undefined
    const reader = (cat ?? child).stdout!.setEncoding('utf8')
    reader.on('data', (chunk: string) => (text += chunk))
    const finished = told()
    child.send('end')
    const final = await finished
    expect(await ended).toBe(0)
    await vi.waitFor(() => expect(linesOf(text)).toHaveLength(final['written']!), { timeout: 20_000 })
    if (typeof fd === 'number') closeSync(fd)
    const lines = linesOf(text).map((line) => JSON.parse(line) as { index: number; msg: string; dropped?: number })
    expect(lines.filter((line) => line.msg === 'important').map((line) => line.index)).toEqual(
      Array.from({ length: 50 }, (_, index) => index),
    )
    expect(final['dropped']).toBe(stalled['dropped'])
    expect(lines.find((line) => line.dropped !== undefined)).toMatchObject({ dropped: stalled['dropped'] })
  })

  it('has its lines when it takes them up again at the very end', async () => {
    const { child, ended, told } = start(
      `for (let index = 0; index < 600; index++) logger.info({ index, text: 'x'.repeat(100) }, 'line')\nprocess.send(logger.stats(), () => process.exit(0))`,
      'pipe',
    )
    const stats = await told()
    expect(stats).toMatchObject({ dropped: 0 })
    // More than the pipe holds, and little enough to be read on a busy machine in the time that the process is held for.
    expect(stats['atRisk']).toBeGreaterThan(0)
    let text = ''
    child.stdout!.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    expect(await ended).toBe(0)
    expect(linesOf(text)).toHaveLength(600)
  })
})

it('what waits for a reader that stands still is on the page of metrics, and no more once it reads', async () => {
  const { child, ended, told } = start(
    `import { startTelemetry } from '${telemetry}'
    const telemetry = startTelemetry({ service: 'child' })
    const shown = async () => Number(/^platform_logger_at_risk\\S* (\\d+)$/m.exec((await telemetry.metrics({ headers: {} })).body)?.[1])
    for (let index = 0; index < 2000; index++) logger.info({ index, text: 'x'.repeat(100) }, 'line')
    process.send({ shown: await shown(), ...logger.stats() })
    process.once('message', async () => {
      while (logger.stats().atRisk > 0) await new Promise((resolve) => setTimeout(resolve, 5))
      process.send({ shown: await shown(), ...logger.stats() }, () => process.disconnect())
    })`,
    'pipe',
  )
  const standing = await told()
  expect(standing['shown']).toBeGreaterThan(0)
  expect(standing['shown']).toBe(standing['atRisk'])
  child.stdout!.resume()
  const finished = told()
  child.send('read')
  expect(await finished).toMatchObject({ shown: 0, atRisk: 0, written: 2000, dropped: 0 })
  expect(await ended).toBe(0)
})

/** Reads slowly: naps between small reads. */
const slowReader = `import { readSync } from 'node:fs'
const nap = new Int32Array(new SharedArrayBuffer(4)), buffer = Buffer.alloc(3000)
let text = ''
for (;;) { const n = readSync(0, buffer); if (n === 0) break; text += buffer.toString('latin1', 0, n); Atomics.wait(nap, 0, 0, 1) }
process.send(text.split('\\n').filter(Boolean).map((line) => { try { return JSON.parse(line).name } catch { return 'torn' } }))`

describe('one pipe', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'has the rest of a line that was half out when its logger was closed, before the lines of others (room for %i pages)',
    async (pages) => {
      const path = join(directory, 'half')
      execFileSync('mkfifo', [path])
      const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
      const leaving = createLogger({ name: 'leaving', destination: path })
      const staying = createLogger({ name: 'staying', destination: path })
      const text = 'x'.repeat(7_000)
      for (let index = 0; index < 12; index++) leaving.info({ a: text, b: text.slice(0, 4_321) })
      const buffer = Buffer.alloc(1_000_000)
      let read = readSync(fd, buffer, 0, pages * 4_096, null)
      leaving.flush()
      await leaving.close({ timeoutMs: 0 })
      staying.info('after')
      await vi.waitFor(() => {
        read += readSync(fd, buffer, read, 20_000, null)
        staying.flush()
        expect(buffer.toString('latin1', 0, read)).toMatch(/"after"\}\n$/)
      })
      for (const line of linesOf(buffer.toString('latin1', 0, read))) expect(JSON.parse(line)).toMatchObject({ level: 30 })
      await staying.close()
      closeSync(fd)
    },
  )

  it('is written by two loggers without tearing lines, whether they name it by number or by path', async () => {
    const script = `const other = createLogger({ name: 'other', destination: '/dev/stdout' })
      for (let round = 0; round < 40; round++) {
        for (let index = 0; index < 4; index++) { logger.info({ text: 'a'.repeat(8000) }); other.info({ text: 'b'.repeat(8000) }) }
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
      await logger.close({ timeoutMs: 20_000 }); await other.close({ timeoutMs: 20_000 })`
    const { child } = start(script, 'pipe')
    const reader = spawn(process.execPath, ['--input-type=module', '-e', slowReader], {
      stdio: [child.stdout!, 'ignore', 'inherit', 'ipc'],
    })
    children.push(reader)
    child.stdout!.destroy()
    const names = await new Promise<string[]>((resolve) => reader.once('message', (message) => resolve(message as string[])))
    expect(new Set(names)).toEqual(new Set(['child', 'other']))
    expect(names.length).toBeGreaterThan(100)
  })

  it('by path does not hold the process when nobody reads it', async () => {
    const script = `const byPath = createLogger({ name: 'path', destination: '/dev/stdout', bufferBytes: 8192 })
      let worst = 0, last = performance.now()
      setInterval(() => { const now = performance.now(); worst = Math.max(worst, now - last); last = now }, 5)
      setTimeout(() => { for (let i = 0; i < 3000; i++) byPath.info({ i, text: 'x'.repeat(150) }) }, 50)
      setTimeout(() => process.send({ worst, ...byPath.stats() }), 700)`
    const { child, told } = start(script, 'pipe')
    child.stdout!.pause()
    const { worst, dropped } = await told()
    expect(dropped).toBeGreaterThan(0)
    // Held, it would stand still for good: nobody reads. A busy machine alone makes it wait for some hundred milliseconds.
    expect(worst).toBeLessThan(5_000)
    child.kill('SIGKILL')
  })

  it('without a reader can be a destination', async () => {
    const path = join(directory, 'fifo')
    execFileSync('mkfifo', [path])
    const logger = createLogger({ name: 'a', destination: path })
    logger.info('nobody reads')
    expect(logger.stats()).toMatchObject({ written: 0, atRisk: 1 })
    await logger.close({ timeoutMs: 0 })
  })

  it('takes every line of a job that would rather wait', async () => {
    const script = `const job = createLogger({ name: 'job', destination: 1, bufferBytes: 65_536, fullWaitMs: 5_000 })
      for (let i = 0; i < 20_000; i++) job.info({ i, text: 'x'.repeat(100) })
      const { dropped } = job.stats()
      await job.close({ timeoutMs: 10_000 })
      process.send({ dropped })`
    const { child, told } = start(script, 'pipe')
    const reader = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: [child.stdout!, 'ignore', 'inherit'] })
    children.push(reader)
    child.stdout!.destroy()
    expect(await told()).toEqual({ dropped: 0 })
  })
})
