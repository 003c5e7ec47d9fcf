import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { closeSync, constants, existsSync, mkdtempSync, openSync, readFileSync, readSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { EventEmitter } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
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

describe('destinations', () => {
  it('a line that a crash tore is ended before the next process begins', async () => {
    const path = join(directory, 'app.log')
    writeFileSync(path, '{"msg":"whole"}\n{"ms')
    await using logger = createLogger({ name: 'a', destination: path })
    logger.info('first')
    const lines = linesOf(readFileSync(path, 'utf8'))
    expect(lines).toHaveLength(3)
    expect(JSON.parse(lines[2]!)).toMatchObject({ msg: 'first' })
  })

  it('a file that was moved away is opened again at SIGHUP', async () => {
    const path = join(directory, 'app.log')
    await using logger = createLogger({ name: 'a', destination: path })
    logger.info('before')
    renameSync(path, `${path}.1`)
    process.kill(process.pid, 'SIGHUP')
    await vi.waitFor(() => {
      logger.info('after')
      expect(existsSync(path)).toBe(true)
    })
    expect(readFileSync(`${path}.1`, 'utf8')).toContain('before')
    expect(readFileSync(path, 'utf8')).toContain('after')
  })

  it('losses are told whatever the level, and many loggers share one listener', async () => {
    const texts: string[] = []
    let isOpen = false
    const stream = Object.assign(new EventEmitter(), { writable: true, write: (text: string) => (texts.push(text), isOpen) })
    const logger = createLogger({ name: 'a', level: 'fatal', destination: stream as unknown as NodeJS.WritableStream, bufferBytes: 4_096 })
    const before = process.listenerCount('exit')
    const others = Array.from({ length: 12 }, () => {
      const full = Object.assign(new EventEmitter(), { writable: true, write: () => false })
      return createLogger({ name: 'b', destination: full as unknown as NodeJS.WritableStream })
    })
    for (const other of others) for (let index = 0; index < 3; index++) other.info('x')
    expect(process.listenerCount('exit') - before).toBeLessThanOrEqual(1)
    for (let index = 0; index < 200; index++) logger.fatal({ text: 'x'.repeat(100) }, 'e')
    const { dropped } = logger.stats()
    expect(dropped).toBeGreaterThan(0)
    isOpen = true
    stream.emit('drain')
    expect(texts.map((text) => (JSON.parse(text) as { dropped?: number }).dropped)).toContain(dropped)
    for (const other of others) await other.close({ timeoutMs: 0 })
    expect(process.listenerCount('exit')).toBe(before)
  })

  it('when the buffer is full, lines below warn keep those before them, and make way for those from warn on', async () => {
    const texts: string[] = []
    let isOpen = false
    const stream = Object.assign(new EventEmitter(), { writable: true, write: (text: string) => (texts.push(String(text)), isOpen) })
    const logger = createLogger({ name: 'a', destination: stream as unknown as NodeJS.WritableStream, bufferBytes: 4_096 })
    for (let index = 0; index < 100; index++) logger.info({ index })
    for (let index = 0; index < 5; index++) logger.warn({ index })
    isOpen = true
    stream.emit('drain')
    const lines = texts.map((text) => JSON.parse(text) as { level: number; index?: number })
    const minor = lines.filter(({ level, index }) => level === 30 && index !== undefined).map(({ index }) => index!)
    // The first one was taken at once. The oldest of those that waited made way, five or a little more for five.
    const [first, next = 0] = minor
    expect(first).toBe(0)
    expect(next).toBeGreaterThanOrEqual(5)
    expect(next).toBeLessThanOrEqual(8)
    expect(minor.slice(1)).toEqual(Array.from({ length: minor.length - 1 }, (_, index) => next + index))
    expect(minor.at(-1)).toBeLessThan(60)
    expect(lines.filter(({ level, index }) => level === 40 && index !== undefined)).toHaveLength(5)
    await logger.close()
  })

  it('a path is appended to, and freed at the end; later lines are dropped', async () => {
    const path = join(directory, 'app.log')
    for (const text of ['first', 'second']) {
      await using logger = createLogger({ name: 'a', destination: path })
      logger.info(text)
      await logger.child({}).close()
      logger.info(text)
      const closing = logger.close()
      expect(logger.close()).toBe(closing)
      await closing
      logger.info('too late')
      expect(logger.stats()).toEqual({ written: 2, atRisk: 0, dropped: 1 })
    }
    expect(linesOf(readFileSync(path, 'utf8')).map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual([
      'first',
      'first',
      'second',
      'second',
    ])
  })

  it('a file that cannot be opened costs lines, not the program', async () => {
    const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const logger = createLogger({ name: 'a', destination: join(directory, 'none', 'app.log') })
    logger.info('one')
    expect(logger.stats()).toEqual({ written: 0, atRisk: 1, dropped: 0 })
    await logger.close({ timeoutMs: 20 })
    expect(logger.stats()).toEqual({ written: 0, atRisk: 0, dropped: 1 })
    expect(warning).toHaveBeenCalledOnce()
    expect(warning.mock.calls[0]![0]).toContain('ENOENT')
    warning.mockRestore()
  })

  it('a pipe whose reader is gone drops lines quietly', async () => {
    const path = join(directory, 'fifo')
    execFileSync('mkfifo', [path])
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const writer = openSync(path, constants.O_WRONLY)
    const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const logger = createLogger({ name: 'a', destination: writer })
    logger.info('one')
    closeSync(reader)
    logger.info('two')
    logger.error('three')
    expect(logger.stats()).toEqual({ written: 1, atRisk: 0, dropped: 2 })
    await logger.close()
    closeSync(writer)
    warning.mockRestore()
  })

  it('a stream is waited for, not ended, and may fail', async () => {
    const stream = new PassThrough({ highWaterMark: 400 })
    const logger = createLogger({ name: 'a', destination: stream })
    for (let index = 0; index < 20; index++) logger.info({ index }, 'line')
    expect(logger.stats().atRisk).toBeGreaterThan(0)
    let text = ''
    stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    await logger.close({ timeoutMs: 10_000 })
    expect(logger.stats()).toEqual({ written: 20, atRisk: 0, dropped: 0 })
    await vi.waitFor(() => expect(linesOf(text)).toHaveLength(20))
    expect(stream.writableEnded).toBe(false)

    const failing = new Writable({ write: (_chunk, _encoding, done) => done(new Error('disk')) })
    const other = createLogger({ name: 'a', destination: failing })
    other.info('one')
    await vi.waitFor(() => expect(failing.destroyed).toBe(true))
    other.info('two')
    expect(other.stats().dropped).toBe(1)
    await other.close()
  })

  it('a line longer than the pipe goes on where it stopped', async () => {
    const path = join(directory, 'fifo')
    execFileSync('mkfifo', [path])
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const writer = openSync(path, constants.O_WRONLY)
    const logger = createLogger({ name: 'a', destination: writer, limits: { stringLength: 200_000, lineLength: 2_000_000 } })
    const long = Array.from({ length: 20_000 }, (_, index) => `${index}é`).join(' ')
    logger.info(long)
    logger.info('next')
    expect(logger.stats()).toEqual({ written: 0, atRisk: 2, dropped: 0 })
    const chunks: Buffer[] = []
    while (logger.stats().atRisk > 0) {
      const chunk = Buffer.alloc(65_536)
      chunks.push(chunk.subarray(0, readSync(reader, chunk)))
      logger.flush()
    }
    const rest = Buffer.alloc(65_536)
    chunks.push(rest.subarray(0, readSync(reader, rest)))
    const lines = linesOf(Buffer.concat(chunks).toString())
    expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual([long, 'next'])
    await logger.close()
    closeSync(reader)
    closeSync(writer)
  })

  it('lines from warn on take the place of older ones below, also after some were written', async () => {
    const texts: string[] = []
    const oneAtATime = Object.assign(new EventEmitter(), { writable: true, write: (text: string) => texts.push(text) < 0 })
    const logger = createLogger({ name: 'a', destination: oneAtATime as unknown as NodeJS.WritableStream, bufferBytes: 4_096 })
    const fill = (level: 'info' | 'error', count: number, msg: string) => {
      for (let index = 0; index < count; index++) logger[level]({ text: 'x'.repeat(80) }, msg)
    }
    fill('error', 7, 'early')
    fill('info', 40, 'minor')
    const { atRisk: capacity } = logger.stats()
    fill('error', 1, 'early')
    for (let index = 0; index < 7; index++) oneAtATime.emit('drain')
    fill('error', capacity - 2, 'late')
    expect(logger.stats().dropped).toBeGreaterThan(40 - capacity)
    while (logger.stats().atRisk > 0) oneAtATime.emit('drain')
    const messages = texts.map((text) => (JSON.parse(text) as { msg: string }).msg)
    expect(messages.filter((message) => message === 'early')).toHaveLength(8)
    expect(messages.filter((message) => message === 'late')).toHaveLength(capacity - 2)
    await logger.close()
  })
})
