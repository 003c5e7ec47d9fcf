import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { kept } from './testing/kept-logger.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] }))
afterEach(() => void vi.useRealTimers())

describe('a level for a time', () => {
  const said = (lines: ReturnType<ReturnType<typeof kept>['lines']>) =>
    lines.flatMap(({ level, msg }) => (level === 20 ? [msg as string] : []))

  it('holds for the children of one module, made before and after, and for theirs; then they follow their parents again', () => {
    const { logger, lines } = kept({ level: 'info' })
    const [stock, other] = [logger.child({ module: 'stock' }), logger.child({ module: 'other' })]
    const below = stock.child({ x: 1 })
    logger.overrideLevel('debug', { module: 'stock', forMs: 5_000 })
    const later = logger.child({ module: 'stock' })
    const tell = (when: string) => {
      for (const [name, each] of Object.entries({ logger, stock, other, below, later })) each.debug(`${when} ${name}`)
    }
    tell('during')
    vi.advanceTimersByTime(5_000)
    tell('after')
    logger.level = 'debug'
    tell('following')
    const all = ['logger', 'stock', 'other', 'below', 'later'].map((name) => `following ${name}`)
    expect(said(lines())).toEqual(['during stock', 'during below', 'during later', ...all])
    expect(lines().filter(({ level }) => level === 40)).toMatchObject([
      { module: 'stock', level: 40 },
      { msg: 'the log level is as before' },
    ])
  })

  it('holds for all without a module, is replaced by a later one, and leaves a level alone that was set meanwhile', () => {
    const { logger, lines } = kept({ level: 'info' })
    const child = logger.child({})
    logger.overrideLevel('trace', { forMs: 1_000 })
    logger.overrideLevel('debug', { forMs: 5_000 })
    vi.advanceTimersByTime(4_999)
    child.debug('during')
    vi.advanceTimersByTime(1)
    child.debug('after')
    logger.overrideLevel('debug')
    logger.level = 'warn'
    vi.advanceTimersByTime(600_000)
    expect([said(lines()), logger.level]).toEqual([['during'], 'warn'])
  })

  it('is refused when it is none', () => {
    const { logger } = kept()
    expect(() => logger.overrideLevel('loud')).toThrow(/"level" must be one of/)
    expect(() => logger.overrideLevel('debug', { forMs: 1e9 })).toThrow(/"forMs"/)
  })
})

describe('repeated lines', () => {
  const rules = { repeats: { max: 3, windowMs: 1_000 } }

  it('are left out beyond the limit, and counted in a line of their own', () => {
    const { logger, lines } = kept(rules)
    for (let index = 0; index < 100; index++) logger.info({ index }, 'polled %d', index)
    logger.info('another')
    vi.advanceTimersByTime(1_000)
    expect(lines().map(({ msg }) => msg as string)).toEqual([
      'polled 0',
      'polled 1',
      'polled 2',
      'another',
      'lines with one message were left out',
    ])
    expect(lines().at(-1)).toMatchObject({ repeated: 97, of: 'polled %d' })
    logger.info('polled %d', 7)
    expect(lines().at(-1)).toMatchObject({ msg: 'polled 7' })
  })

  it('are all written from warn on, without a message, and when nobody asked for less', () => {
    const { logger, lines } = kept(rules)
    for (let index = 0; index < 10; index++) {
      logger.warn('no')
      logger.error(new Error('no'))
      logger.info({ index })
    }
    expect(lines()).toHaveLength(30)
    const plain = kept()
    for (let index = 0; index < 10; index++) plain.logger.info('x')
    expect(plain.lines()).toHaveLength(10)
  })

  it('are told at the end as well', async () => {
    const { logger, lines } = kept(rules)
    for (let index = 0; index < 10; index++) logger.info('polled')
    await logger.close()
    expect(lines().at(-1)).toMatchObject({ repeated: 7, of: 'polled' })
  })

  it('take no memory of strangers: beyond a thousand messages a window, all are written', () => {
    const { logger, lines } = kept(rules)
    for (let index = 0; index < 2_000; index++) logger.info(`stranger ${index}`)
    for (let index = 0; index < 10; index++) logger.info('stranger 1999')
    expect(lines()).toHaveLength(2_010)
    for (let index = 0; index < 10; index++) logger.info('stranger 0')
    expect(lines()).toHaveLength(2_012)
  })
})
