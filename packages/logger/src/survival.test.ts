import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs'
import { EventEmitter } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createLogger } from './index.ts'

const source = new URL('./index.ts', import.meta.url).href
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
  const child = spawn(process.execPath, ['--input-type=module', '--no-warnings', '-e', code], {
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
      `for (let index = 0; index < 3000; index++) logger.info({ index, text: 'x'.repeat(100) }, 'line')\nprocess.send(logger.stats(), () => process.exit(0))`,
      'pipe',
    )
    expect(await told()).toMatchObject({ dropped: 0 })
    let text = ''
    child.stdout!.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    expect(await ended).toBe(0)
    expect(linesOf(text)).toHaveLength(3000)
  })
})

describe('destinations', () => {
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
