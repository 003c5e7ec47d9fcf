import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import {
  context,
  type Context,
  type ContextManager,
  metrics,
  type ObservableCallback,
  ROOT_CONTEXT,
  trace,
  TraceFlags,
} from '@opentelemetry/api'
import { afterEach, expect, it } from 'vitest'
import { AT_RISK, DROPPED, LEVEL, LINES, logContextHook, withLogContext } from './index.ts'
import { kept } from './testing/kept-logger.ts'

/** The least that the API takes for a context manager; enough for code without awaits. */
class StackContextManager implements ContextManager {
  #active: Context = ROOT_CONTEXT
  active(): Context {
    return this.#active
  }
  with<A extends unknown[], F extends (...args: A) => ReturnType<F>>(
    next: Context,
    run: F,
    self?: ThisParameterType<F>,
    ...args: A
  ): ReturnType<F> {
    const before = this.#active
    this.#active = next
    try {
      return run.call(self as never, ...args)
    } finally {
      this.#active = before
    }
  }
  bind<T>(_context: Context, target: T): T {
    return target
  }
  enable(): this {
    return this
  }
  disable(): this {
    return this
  }
}

afterEach(() => {
  context.disable()
  metrics.disable()
})

it('the context stays with its own work across awaits, nests, and ends', async () => {
  const { logger, lines } = kept()
  const work = (id: number) =>
    withLogContext({ id, layer: 'outer' }, async () => {
      await turn()
      withLogContext({ layer: 'inner' }, () => logger.info('inside'))
      await turn()
      logger.info('after')
    })
  await Promise.all([work(1), work(2)])
  logger.info('outside')
  for (const id of [1, 2])
    expect(lines().filter((line) => line['id'] === id)).toMatchObject([
      { layer: 'inner', msg: 'inside' },
      { layer: 'outer', msg: 'after' },
    ])
  expect(lines().at(-1)).not.toHaveProperty('id')
})

it('a request brings its id, method and path, without the query and without an id that is not one', () => {
  const { logger, lines } = kept()
  const request = (id: string | string[] | undefined) => ({ method: 'GET', url: '/films/1?token=x#y', headers: { 'x-request-id': id } })
  expect(logContextHook(request('abc-1'), () => (logger.info('known'), 'result'))).toBe('result')
  for (const bad of [undefined, ['a', 'b'], 'has space', 'x'.repeat(129), 'a\nb', ''])
    logContextHook(request(bad), () => logger.info('made'))
  expect(lines()[0]).toMatchObject({ request_id: 'abc-1', method: 'GET', path: '/films/1' })
  for (const line of lines().slice(1)) expect(line['request_id']).toMatch(/^[0-9a-f-]{36}$/)
})

it('every line inside a span carries its ids, in the names of the format', () => {
  context.setGlobalContextManager(new StackContextManager())
  const span = trace.wrapSpanContext({
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId: 'b7ad6b7169203331',
    traceFlags: TraceFlags.SAMPLED,
  })
  const json = kept()
  const ecs = kept({ format: 'ecs' })
  context.with(trace.setSpan(context.active(), span), () => {
    json.logger.child({ a: 1 }).info({ trace_id: 'not this' }, 'in')
    ecs.logger.info('in')
  })
  json.logger.info('out')
  expect(json.lines()[0]).toMatchObject({
    trace_id: '0af7651916cd43dd8448eb211c80319c',
    span_id: 'b7ad6b7169203331',
    trace_flags: '01',
    _trace_id: 'not this',
  })
  expect(ecs.lines()[0]).toMatchObject({ 'trace.id': '0af7651916cd43dd8448eb211c80319c', 'span.id': 'b7ad6b7169203331' })
  expect(json.lines()[1]).not.toHaveProperty('trace_id')
})

/** A provider of metrics that comes now; reads what its callbacks tell. */
function meterProvider() {
  const callbacks = new Map<string, Set<ObservableCallback>>()
  const counter = (name: string) => {
    const set = callbacks.get(name) ?? new Set<ObservableCallback>()
    callbacks.set(name, set)
    return {
      addCallback: (callback: ObservableCallback) => set.add(callback),
      removeCallback: (callback: ObservableCallback) => set.delete(callback),
    }
  }
  metrics.disable()
  metrics.setGlobalMeterProvider({
    getMeter: () => ({ createObservableCounter: counter, createObservableUpDownCounter: counter }),
  } as never)
  return (name: string) => {
    const values: [number, unknown][] = []
    for (const callback of callbacks.get(name) ?? [])
      void callback({ observe: (value: number, attributes: unknown) => values.push([value, attributes]) })
    return values
  }
}

it('counts lines by level for an SDK that comes later, until it is closed', async () => {
  const { logger } = kept()
  logger.info('before the SDK')
  const read = meterProvider()
  logger.warn('after')
  expect(read(LINES)).toEqual([
    [1, { [LEVEL]: 'info' }],
    [1, { [LEVEL]: 'warn' }],
  ])
  expect([read(DROPPED), read(AT_RISK)]).toEqual([[[0, undefined]], [[0, undefined]]])
  await logger.close()
  expect(read(LINES)).toEqual([])
})

it('counts the lines of all loggers of a process together, those of closed ones as well', async () => {
  const read = meterProvider()
  const [first, second] = [kept().logger, kept().logger]
  first.info('one')
  second.info('two')
  second.error('three')
  const sums = [
    [2, { [LEVEL]: 'info' }],
    [1, { [LEVEL]: 'error' }],
  ]
  expect(read(LINES)).toEqual(sums)
  await second.close()
  expect(read(LINES)).toEqual(sums)
  first.info('four')
  expect(read(LINES)[0]).toEqual([3, { [LEVEL]: 'info' }])
  await first.close()
  expect(read(LINES)).toEqual([])
})

it('the events of a request and its response carry its context', async () => {
  const { logger, lines } = kept()
  const closed = Promise.withResolvers<void>()
  await using server = createServer((incoming, response) => {
    const { method = '', url = '', headers } = incoming
    logContextHook({ method, url, headers }, () => {
      incoming.on('data', () => {})
      incoming.on('end', () => (logger.info('request end'), response.end('ok')))
      response.on('finish', () => logger.info('response finish'))
      response.on('close', () => (logger.info('response close'), closed.resolve()))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const sent = request({ host: '127.0.0.1', port, method: 'POST', headers: { 'x-request-id': 'r-1' } }, (answer) => answer.resume())
  sent.write('a')
  await new Promise((resolve) => setImmediate(resolve))
  sent.end('b')
  await closed.promise
  expect(lines().map((line) => [line['msg'], line['request_id']])).toEqual([
    ['request end', 'r-1'],
    ['response finish', 'r-1'],
    ['response close', 'r-1'],
  ])
})
