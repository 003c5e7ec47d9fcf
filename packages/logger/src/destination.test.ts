import { execFileSync } from 'node:child_process'
import { closeSync, constants, existsSync, mkdtempSync, openSync, readFileSync, readSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { EventEmitter } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createLogger } from './index.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'platform-logger-'))
})
afterEach(() => rmSync(directory, { recursive: true }))
const linesOf = (text: string) => text.split('\n').filter((line) => line !== '')

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
