import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { type LogFormat, withLogContext } from '../index.ts'
import { kept, type Line, loose, parsed } from '../testing/kept-logger.ts'

describe('redaction', () => {
  const canary = 'canary-5a1e'
  const formats: LogFormat[] = ['json', 'ecs', 'pretty']

  it.each(formats)('hides a canary in every channel (%s)', (format) => {
    const { logger, texts } = kept({ format, redact: { keys: ['pin-code'], values: () => [canary, 'p@ss"word'] } })
    const error = Object.assign(new Error(`failed with ${canary}`, { cause: new AggregateError([new Error(canary)], canary) }), {
      config: { apiKey: canary },
    })
    for (const value of [
      canary,
      `text ${canary} text`,
      [canary],
      [[{ x: canary }]],
      { [canary]: 1, [`x${canary}`]: 2 },
      new Map([[canary, canary]]),
      new Set([canary]),
      error,
      new URL(`http://h/${canary}`),
      new Headers({ a: canary }),
      { toJSON: () => canary },
      Symbol(canary),
    ]) {
      logger.info({ value }, 'field')
      logger.info({ value }, `message ${canary}`)
      logger.info(value as object)
      logger.info('%s %o %j', value, value, value)
      logger.child({ value }).info('child')
      withLogContext({ value }, () => logger.info('context'))
    }
    const names = [
      'password',
      'PASSWORD',
      'db_password',
      'x-api-key',
      'Authorization',
      'Set-Cookie',
      'clientSecret',
      'access_token',
      'PIN.Code',
      'pinCode',
    ]
    for (const name of names) {
      const hidden = {
        deep: [{ list: [{ [name]: { inner: 'unlisted' } }] }],
        map: new Map([[name, 'unlisted']]),
        [name]: 'unlisted',
        pair: { name, value: 'unlisted' },
      }
      logger.info(hidden)
      logger.info(Object.assign(new Error('e', { cause: hidden }), hidden))
      logger.info('%j', hidden)
      logger.child(hidden).info('child')
      withLogContext(hidden, () => logger.info('context'))
    }
    logger.info({ url: 'postgres://me:unlisted@host/db' }, 'to amqp://me:unlisted@host')
    logger.info({ text: 'p@ss"word' }, 'p@ss"word')
    logger.info({ url: '/login?user=me&access_token=unlisted&x=1#f' }, 'GET /a?password=unlisted')
    logger.info(
      { body: '{"user":"me","db":{"password": "unlisted \\" quoted"}}', cut: `{"apiKey":"unlisted${'x'.repeat(9_000)}` },
      'sent Bearer unlisted.unlisted.unlisted',
    )
    logger.info({ text: `${'x'.repeat(8_190)}${canary}` })
    const all = texts.join('')
    expect(all).not.toMatch(/canary|unlisted|p@ss|ca… \[/)
    expect(all).toContain('[redacted]')
    expect(all).toContain('/login?user=me&access_token=[redacted]&x=1#f')
  })

  it('keeps what only looks like a secret', () => {
    const { logger, lines } = kept()
    logger.info({ hasPassword: true, password: null, tokenCount: 5, author: 'me', secretary: 'x' })
    expect(lines()).toMatchObject([{ hasPassword: true, password: null, tokenCount: 5, author: 'me', secretary: 'x' }])
  })

  it('follows secrets that change, in children and contexts that were rendered before', () => {
    let secrets: string[] = ['first-secret']
    const { logger, texts } = kept({ redact: { values: () => secrets } })
    const child = logger.child({ url: 'second-secret' })
    withLogContext({ at: 'second-secret', pin: 471_100 }, () => {
      child.info('one')
      secrets = ['second-secret', '471100', 'abc']
      child.info('two abc')
    })
    expect(texts[0]).toContain('second-secret')
    expect(texts[1]).not.toMatch(/second-secret|471100/)
    expect(texts[1]).toContain('two abc')
  })
})

describe('hostile values', () => {
  const boom = () => {
    throw new Error('boom')
  }
  const circular: Line = { a: 1 }
  circular['self'] = circular
  const values: Record<string, unknown> = {
    getter: Object.defineProperty({}, 'x', { enumerable: true, get: boom }),
    err: Object.defineProperty({}, 'err', { enumerable: true, get: boom }),
    proxy: new Proxy({}, { get: boom, ownKeys: boom, getPrototypeOf: boom, has: boom, getOwnPropertyDescriptor: boom }),
    revoked: (() => {
      const { proxy, revoke } = Proxy.revocable({}, {})
      revoke()
      return proxy
    })(),
    proxyList: new Proxy([1], { get: boom }),
    toString: { toString: boom, toJSON: boom, [Symbol.toPrimitive]: boom, [inspect.custom]: boom },
    circular,
    error: Object.defineProperties(new Error('x'), {
      message: { get: boom },
      stack: { get: boom },
      name: { get: boom },
      cause: { get: boom, enumerable: true },
    }),
    constructor: Object.create({ constructor: null }),
    bare: Object.create(null),
    map: new Map([[{ toString: boom }, 1]]),
    big: 1n,
    symbol: Symbol('s'),
    run: boom,
    surrogate: '\ud800',
    request: {
      method: 'GET',
      headers: {},
      socket: {},
      get url() {
        return boom()
      },
    },
  }

  it.each(Object.keys(values))('never throw into the caller: %s', async (name) => {
    const value = values[name]
    for (const format of ['json', 'ecs', 'pretty'] as const) {
      const { logger, texts } = kept({ format, redact: { values: boom } })
      const calls = [
        () => logger.info(value as object),
        () => logger.info(value as object, 'text'),
        () => logger.info({ value, list: [value] }, 'text %s', value),
        () => loose(logger).info('%s %d %i %j %o', value, value, value, value, value),
        () => loose(logger).info(undefined, value),
        () => logger.child({ value }).info('child'),
        () => logger.child(value as object).info('child'),
        () => withLogContext(value as object, () => logger.info('context')),
        () => loose(logger).error('text', Object.assign(new Error('e'), { value })),
      ]
      for (const call of calls) call()
      expect(texts.length).toBeGreaterThanOrEqual(calls.length - 1)
      expect(texts.join('')).not.toContain('could not be made')
      for (const text of format === 'pretty' ? [] : texts) parsed(text)
      await logger.close()
    }
  })

  it('may log while they are logged', () => {
    const { logger, lines } = kept()
    logger.info(
      {
        a: 1,
        get inner() {
          logger.info('inner')
          return 2
        },
        b: 3,
      },
      'outer',
    )
    expect(lines()).toMatchObject([{ msg: 'inner' }, { a: 1, inner: 2, b: 3, msg: 'outer' }])
  })
})
