import type pino from 'pino'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { createLogger, type Logger, LoggerError, type LoggerOptions, noopLogger, withLogContext } from './index.ts'
import { kept, type Line, loose } from './testing/kept-logger.ts'

describe('a line', () => {
  it('is what pino writes', () => {
    const { logger, lines } = kept()
    logger.info({ a: 1, list: [1, null, undefined], nothing: undefined, run() {} }, 'hello %s %d%%', 'world', 5)
    logger.warn('only text')
    expect(lines()).toMatchObject([
      { level: 30, name: 'test', pid: process.pid, a: 1, list: [1, null, null], msg: 'hello world 5%' },
      { level: 40, msg: 'only text' },
    ])
    expect(lines()[0]).not.toHaveProperty('nothing')
    expect(Math.abs(Date.now() - (lines()[0]!['time'] as number))).toBeLessThan(60_000)
  })

  it('carries an error with its code, cause and gathered errors, wherever it is given', () => {
    const { logger, lines } = kept()
    const cause = Object.assign(new TypeError('inner'), { code: 'EINNER' })
    const error = new AggregateError([new Error('one')], 'outer', { cause })
    logger.error(error)
    logger.error({ err: error }, 'said')
    loose(logger).error('said', error)
    logger.error({ list: [error] }, 'nested')
    for (const line of lines()) {
      const shown = (line['err'] ?? line['list'][0]) as Line
      expect(shown).toMatchObject({
        type: 'AggregateError',
        message: 'outer',
        cause: { type: 'TypeError', code: 'EINNER' },
        errors: [{ message: 'one' }],
      })
      expect(shown['stack']).toContain('logger.test.ts')
    }
    expect(lines().map((line) => line['msg'] as string)).toEqual(['outer', 'said', 'said', 'nested'])
  })

  it('takes the other order of arguments too', () => {
    const { logger, lines } = kept()
    loose(logger).info('placed', { order: 7 })
    loose(logger).info('placed %s', 'twice', { order: 8 })
    loose(logger).error('failed', { order: 9 }, new Error('why'))
    expect(lines()).toMatchObject([
      { msg: 'placed', order: 7 },
      { msg: 'placed twice', order: 8 },
      { msg: 'failed', order: 9, err: { message: 'why' } },
    ])
  })

  it.each(['json', 'ecs', 'pretty'] as const)('keeps what an error is before everything that it carries (%s)', (format) => {
    const { logger, texts } = kept({ format })
    const error = Object.assign(new TypeError('the reason'), { response: { data: Array.from({ length: 50 }, () => 'y'.repeat(1_000)) } })
    logger.error({ big: Array.from({ length: 50 }, () => 'z'.repeat(1_000)), err: error }, 'the call failed')
    for (const part of ['the call failed', 'TypeError', 'the reason', 'logger.test.ts']) expect(texts[0]).toContain(part)
    expect(texts[0]).toContain('truncated')
  })

  it('keeps a type that an error has of its own beside its class', () => {
    const { logger, lines } = kept()
    logger.error(Object.assign(new SyntaxError('no JSON'), { type: 'entity.parse.failed', status: 400 }))
    expect(lines()[0]!['err']).toMatchObject({ type: 'SyntaxError', _type: 'entity.parse.failed', status: 400 })
  })

  it('leaves a mark wherever it cuts, also in child and context', () => {
    const many = Object.fromEntries(Array.from({ length: 150 }, (_, index) => [`k${index}`, index]))
    const long = Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`k${index}`, Array.from({ length: 60 }, () => 'qqqqqqqq')]))
    const { logger, lines } = kept()
    for (const fields of [many, long]) {
      logger.info(fields, 'call')
      logger.child(fields).info('child')
      withLogContext(fields, () => logger.info('context'))
    }
    expect(lines().map(({ truncated }) => truncated as unknown)).toEqual(Array(6).fill(true))
  })

  it('a hostile value costs itself, not the line', () => {
    const boom = () => {
      throw new Error('boom')
    }
    for (const format of ['json', 'ecs', 'pretty'] as const) {
      const { logger, texts } = kept({ format })
      logger.info({ err: new Proxy(new Error('e'), { has: boom, getPrototypeOf: boom }), order: 'order 7' }, 'text')
      loose(logger).info(
        'order 7 %d',
        Object.assign(() => {}, { valueOf: boom }),
      )
      expect(texts.map((text) => text.includes('order 7'))).toEqual([true, true])
    }
  })

  it('ends, though what is logged logs itself', () => {
    const { logger, lines } = kept()
    const endless = {
      get again(): number {
        logger.info(endless, 'inner')
        return 1
      },
    }
    logger.info(endless, 'outer')
    expect(lines().length).toBeLessThan(20)
    expect(lines().at(-1)).toMatchObject({ msg: 'outer', again: 1 })
  })

  it('never has a key twice: inner fields win, and ours keep their names', () => {
    const { logger, lines } = kept()
    const child = logger.child({ a: 'child', b: 'child', name: 'module' })
    withLogContext({ a: 'context', c: 'context' }, () => {
      child.info({ a: 'call', level: 'mine', _level: 'taken', time: 0, msg: 'field' }, 'text')
      child.info('plain')
    })
    child.info({ msg: 'from the fields' })
    expect(lines()).toMatchObject([
      {
        a: 'call',
        b: 'child',
        c: 'context',
        _name: 'module',
        name: 'test',
        level: 30,
        __level: 'mine',
        _level: 'taken',
        _time: 0,
        msg: 'text',
        _msg: 'field',
      },
      { a: 'context', b: 'child', msg: 'plain' },
      { a: 'child', msg: 'from the fields' },
    ])
    expect(lines()[2]).not.toHaveProperty('_msg')
  })

  it('shows what JSON would lose: BigInt, Map, Set, bytes, dates, URLs, toJSON', () => {
    const { logger, lines } = kept()
    const headers = new Headers({ accept: '*/*' })
    const loop: Line = { a: 1 }
    loop['self'] = [loop]
    logger.info({
      big: 2n ** 60n,
      map: new Map<unknown, unknown>([
        ['k', 1],
        [2, 3],
        ['2', 4],
      ]),
      set: new Set(['x']),
      bytes: Buffer.from('abc'),
      date: new Date(0),
      bad: new Date(Number.NaN),
      url: new URL('http://h/p'),
      json: { toJSON: () => ({ b: 1 }) },
      nan: Number.NaN,
      symbol: Symbol('s'),
      headers,
      loop,
    })
    expect(lines()).toMatchObject([
      {
        big: '1152921504606846976',
        map: { k: 1, 2: 3 },
        set: ['x'],
        bytes: '[Buffer of 3 bytes]',
        date: '1970-01-01T00:00:00.000Z',
        bad: null,
        url: 'http://h/p',
        json: { b: 1 },
        nan: null,
        symbol: 'Symbol(s)',
        headers: { accept: '*/*' },
        loop: { a: 1, self: ['[circular]'] },
      },
    ])
  })

  it('stays within its bounds and says so', () => {
    const { logger, texts, lines } = kept({ limits: { depth: 3, width: 5, stringLength: 100, lineLength: 4_096 } })
    let deep: Line = {}
    for (let level = 0; level < 10_000; level++) deep = { deep }
    logger.info(
      {
        deep,
        wide: Array.from({ length: 2_000 }, (_, index) => index),
        keys: Object.fromEntries(Array.from({ length: 2_000 }, (_, index) => [`k${index}`, index])),
      },
      'x'.repeat(5e6),
    )
    expect(lines()[0]).toMatchObject({
      deep: { deep: { deep: { deep: '[object]' } } },
      wide: [0, 1, 2, 3, 4, '… 1995 more'],
      keys: { k0: 0, '…': '1995 more' },
      msg: `${'x'.repeat(100)}… [4999900 more characters]`,
    })
    const many = kept({ limits: { lineLength: 4_096 } })
    const huge = Object.fromEntries(Array.from({ length: 90 }, (_, index) => [`k${index}`, '\u0000'.repeat(500)]))
    many.logger.child(huge).info(huge, '\u0000'.repeat(8_000))
    withLogContext(huge, () => many.logger.child({ more: huge }).error(Object.assign(new Error('\u0000'.repeat(9_000)), huge)))
    expect(many.lines()).toMatchObject([{ truncated: true }, { truncated: true }])
    many.logger.info(huge, 'the message stays')
    expect(many.lines()[2]).toMatchObject({ truncated: true, msg: 'the message stays' })
    for (const text of [...many.texts, ...texts]) expect(text.length).toBeLessThanOrEqual(4_097)
  })
})

describe('levels and children', () => {
  it('change at run time, also for children that have no level of their own', () => {
    const { logger, lines } = kept({ level: 'info' })
    const follows = logger.child({ follows: true })
    const own = logger.child({ own: true }, { level: 'error' })
    logger.level = 'debug'
    follows.debug('follows')
    own.warn('not logged')
    expect(lines()).toMatchObject([{ follows: true, msg: 'follows' }])
    expect(own.isLevelEnabled('warn')).toBe(false)
    expect(() => kept({ level: 'loud' })).toThrow(LoggerError)
  })

  it('take msgPrefix and serializers, whose results are redacted too', () => {
    const { logger, lines } = kept()
    const child = logger.child(
      { user: { id: 1 } },
      { msgPrefix: '[a] ', serializers: { user: (user: { id: number }) => ({ id: user.id, token: 't' }), bad: () => expect.fail('no') } },
    )
    child.child({ deeper: true }).info({ bad: 1 }, 'text')
    child.info({ user: { id: 2 } })
    expect(lines()).toMatchObject([
      { user: { id: 1, token: '[redacted]' }, deeper: true, bad: '[serializer failed]', msg: '[a] text' },
      { user: { id: 2, token: '[redacted]' } },
    ])
    expect(child.bindings()).toEqual({ user: { id: 1 } })
    expect(() => logger.child({}, { redact: ['a'] })).toThrow(LoggerError)
  })

  it('fit wherever pino is asked for', () => {
    expectTypeOf<Logger>().toExtend<pino.Logger>()
    expectTypeOf(noopLogger).toExtend<pino.Logger>()
    type Log = (fields: object, message?: string) => void
    expectTypeOf<Logger>().toExtend<{ debug: Log; info: Log; warn: Log; error: Log }>()
    const { logger, lines } = kept()
    const asPino: pino.Logger = logger.child({ a: 1 })
    asPino.setBindings({ b: 2 })
    asPino.flush()
    asPino.fatal('as pino')
    expect(lines()).toMatchObject([{ level: 60, a: 1, b: 2, msg: 'as pino' }])
    noopLogger.child({ a: 1 }).error('nothing')
    expect(noopLogger.stats()).toEqual({ written: 0, atRisk: 0, dropped: 0 })
  })
})

describe('formats', () => {
  it('ecs names what Elastic names and keeps free fields apart', () => {
    const { logger, lines } = kept({ format: 'ecs' })
    const error = Object.assign(new RangeError('too far', { cause: new Error('because') }), { code: 'EFAR', limit: 5 })
    withLogContext({ request_id: 'r1', method: 'GET', path: '/p', tenant: 't' }, () =>
      logger.child({ module: 'm' }).error({ err: error, message: 'free', level: 'free' }, 'said'),
    )
    expect(lines()).toMatchObject([
      {
        'log.level': 'error',
        message: 'said',
        'service.name': 'test',
        'http.request.id': 'r1',
        'http.request.method': 'GET',
        'url.path': '/p',
        'error.type': 'RangeError',
        'error.message': 'too far',
        'error.code': 'EFAR',
        'error.stack_trace': error.stack,
        data: { module: 'm', tenant: 't', message: 'free', level: 'free', err: { limit: 5, cause: { message: 'because' } } },
      },
    ])
    expect(new Date(lines()[0]!['@timestamp'] as string).getTime()).not.toBeNaN()
    expect(lines()[0]!['data'].err).not.toHaveProperty('message')
  })

  it.each([
    ['json', 'version'],
    ['ecs', 'service.version'],
  ] as const)('%s says of which release the program is, if it was told', (format, key) => {
    const { logger, lines } = kept({ format, version: '1.4.0' })
    logger.error({ err: new Error('no'), version: 'free' }, 'said')
    expect(lines()[0]).toHaveProperty([key], '1.4.0')
    const untold = kept({ format })
    untold.logger.info({ version: 'free' }, 'said')
    expect(untold.lines()[0]!['service.version']).toBeUndefined()
    expect(JSON.stringify(untold.lines()[0])).toContain('"version":"free"')
  })

  it('pretty cannot be made to start a line, move the cursor or turn text around', () => {
    const { logger, texts } = kept({ format: 'pretty' })
    const evil = 'a\r\nb\u001b[2J\u009b2J\u202etxt\u2028'
    logger.child({ [evil]: evil }).info({ evil, list: [evil] }, evil)
    logger.error(Object.assign(new Error(evil), { evil }))
    const text = texts.join('')
    // oxlint-disable-next-line no-control-regex -- that is what is looked for
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u202e]/)
    expect(texts[0]!.trimEnd().split('\n')).toHaveLength(1)
    for (const line of texts[1]!.trimEnd().split('\n').slice(1)) expect(line).toMatch(/^ {4}/)
    expect(text).toContain('a\\u000d\\u000ab\\u001b[2J')
  })
})

it('refuses options that are wrong by their name', () => {
  for (const [options, named] of [
    [{ name: '' }, 'name'],
    [{ name: 'a', version: '' }, 'version'],
    [{ name: 'a', format: 'xml' }, 'format'],
    [{ name: 'a', destination: -1 }, 'destination'],
    [{ name: 'a', destination: {} }, 'destination'],
    [{ name: 'a', limits: { depth: 0 } }, 'limits.depth'],
    [{ name: 'a', bufferBytes: 1 }, 'bufferBytes'],
    [{ name: 'a', fullWaitMs: -1 }, 'fullWaitMs'],
    [{ name: 'a', limits: { dept: 2 } }, 'limits.dept'],
    [{ name: 'a', redact: { paths: ['user.ssn'] } }, 'redact.paths'],
    [{ name: 'a', serializers: {} }, 'serializers'],
    [{ name: 'a', mixin: () => ({}) }, 'mixin'],
    [{ name: 'a', redact: { keys: 'x' } }, 'redact.keys'],
    [{ name: 'a', redact: { values: [] } }, 'redact.values'],
  ] as const)
    expect(() => createLogger(options as unknown as LoggerOptions)).toThrow(
      expect.objectContaining({ code: 'ERR_LOGGER_OPTION', message: expect.stringContaining(`"${named}"`) as string }) as Error,
    )
})
