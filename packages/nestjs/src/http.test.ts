import type { Type } from '@nestjs/common'
import { Controller, Get, Module, Param } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { logContextHook } from '@platform/logger'
import { component, createService } from '@platform/service'
import { startTelemetry } from '@platform/telemetry'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { FastifyAdapter } from '@nestjs/platform-fastify'
import { filmApp, FilmsController, method } from './film-app.fixture.ts'
import { type NestHttpOptions, nestHttp } from './http.ts'
import { nestContext, PlatformModule } from './index.ts'

const until = (assert: () => void | Promise<void>) => vi.waitFor(assert, { timeout: 15_000, interval: 10 })
const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean()
})

async function up(options: Partial<NestHttpOptions> = {}, controllers?: Type[]) {
  const { app, lines, logger } = await filmApp({}, controllers)
  const http = nestHttp(app, { port: 0, host: '127.0.0.1', minDrainMs: 0, quietWindowMs: 50, ...options })
  cleanups.push(() => http.close({ timeoutMs: 0 }))
  await http.ready()
  const ask = async (path: string, init?: RequestInit) => {
    const response = await fetch(`http://127.0.0.1:${http.port}${path}`, init)
    const text = await response.text()
    return { status: response.status, type: response.headers.get('content-type'), text, body: text === '' ? undefined : JSON.parse(text) }
  }
  const post = (body: string, headers: Record<string, string> = { 'content-type': 'application/json' }) =>
    ask('/films/7/orders', { method: 'POST', body, headers })
  return { http, app, lines, logger, ask, post }
}

describe('problem+json', () => {
  it('answers what the client did wrong, by field, without an error in the log', async () => {
    const { ask, post, lines } = await up({ bodyLimitBytes: 1_000 })
    expect(await post('{"film":1}')).toMatchObject({ status: 201, body: { id: '7', film: 1 } })

    const invalid = await post('{"items":[{"count":1},{"count":-1}]}')
    expect(invalid).toMatchObject({ status: 400, body: { type: 'about:blank', title: 'Bad Request', status: 400 } })
    expect(invalid.type).toMatch(/^application\/problem\+json/)
    expect(invalid.body.errors.map(({ pointer }: { pointer: string }) => pointer)).toEqual(['#/film', '#/items/1/count'])
    expect(invalid.body.errors.every(({ message }: { message: string }) => message !== '')).toBe(true)

    expect(await post('{"film": secret}')).toMatchObject({ status: 400, body: { detail: 'the body is not valid JSON' } })
    expect(await post(JSON.stringify({ film: 1, pad: 'x'.repeat(2_000) }))).toMatchObject({
      status: 413,
      body: { detail: 'the body is too large' },
    })
    expect(await post('<film/>', { 'content-type': 'application/xml' })).toMatchObject({
      status: 415,
      body: { title: 'Unsupported Media Type' },
    })
    expect(await post('{}', { 'content-type': 'application/json; charset=klingon' })).toMatchObject({ status: 415 })
    expect(await post('{"film":1}', { 'content-type': 'application/vnd.film+json' })).toMatchObject({ status: 201 })
    expect(await ask('/none')).toMatchObject({ status: 404, body: { status: 404 } })
    expect(await ask('/films/fail/conflict')).toMatchObject({ status: 409, body: { title: 'Conflict', detail: 'sold out' } })
    expect(await ask('/films/fail/zod')).toMatchObject({ status: 400, body: { errors: [{ pointer: '#/film' }] } })
    expect(lines.filter(({ level }) => level === 40 || level === 50)).toEqual([])
  })

  it('tells the client nothing of a bug, and the log everything', async () => {
    const { ask, lines } = await up()
    const bug = await ask('/films/fail/bug')
    expect(bug).toMatchObject({ status: 500, body: { type: 'about:blank', title: 'Internal Server Error', status: 500 } })
    expect(bug.text).not.toContain('hunter2')
    await until(() => {
      const errors = lines.filter(({ msg }) => msg === 'request failed')
      expect(errors).toHaveLength(1)
      expect(errors[0]).toMatchObject({ level: 50, method: 'GET', status: 500 })
      expect(JSON.stringify(errors[0])).toContain('db-7.internal')
    })
    expect(await ask('/films/fail/text')).toMatchObject({ status: 500 })
    expect(await ask('/films/fail/busy')).toMatchObject({ status: 503, body: { detail: 'come back later' } })
    await until(() => expect(lines.filter(({ msg }) => msg === 'request failed')).toHaveLength(3))
  })

  it('cuts an answer that fails half-way', async () => {
    class Half {
      async half(response: { write(text: string): void; flushHeaders(): void }): Promise<void> {
        response.flushHeaders()
        response.write('[1,')
        await Promise.resolve()
        throw new Error('half')
      }
    }
    const { Res } = await import('@nestjs/common')
    Controller()(Half)
    method(Half, 'half', [Get('half')], [Res()])
    const { ask } = await up({}, [Half])
    await expect(ask('/half')).rejects.toThrow('terminated')
  })
})

describe('nestHttp', () => {
  it('runs requests inside the hooks: routes in metrics, context in the log', async () => {
    const telemetry = startTelemetry({ service: 'films', sampling: { ratio: 1 } })
    cleanups.push(() => telemetry.close())
    const { ask, post, lines } = await up({ inbound: [telemetry.inbound, logContextHook] })
    await post('{"film":1}')
    await ask('/films/fail/bug')
    await until(async () => {
      const { body } = await telemetry.metrics({ headers: {} })
      expect(body).toContain('http_response_status_code="201",http_route="/films/:id/orders",url_scheme="http"} 1')
      expect(body).toContain('http_response_status_code="500",http_route="/films/fail/:kind",url_scheme="http"} 1')
    })
    await until(() => expect(lines.find(({ msg }) => msg === 'request failed')).toMatchObject({ path: '/films/fail/bug' }))
  })

  it('drains inside a service: what is in flight is answered, then Nest is closed', async () => {
    const events: string[] = []
    let answer = () => {}
    class Slow {
      slow(id: string): Promise<{ id: string }> {
        events.push('began')
        return new Promise((resolve) => {
          answer = () => resolve({ id })
        })
      }
      onModuleDestroy(): void {
        events.push('destroyed')
      }
    }
    Controller('slow')(Slow)
    method(Slow, 'slow', [Get(':id')], [Param('id')])
    class AppModule {}
    Module({ controllers: [Slow, FilmsController] })(AppModule)
    const app = await NestFactory.create(AppModule, { logger: false })
    const http = nestHttp(app, { port: 0, host: '127.0.0.1', minDrainMs: 0, quietWindowMs: 50 })
    const service = createService({
      name: 'films',
      components: { db: { close: async () => void events.push('db closed') }, http: component(http, { needs: ['db'] }) },
    })
    await service.start()
    const slow = fetch(`http://127.0.0.1:${http.port}/slow/7`)
    await until(() => expect(events).toEqual(['began']))
    const stopping = service.stop('test')
    const late = await fetch(`http://127.0.0.1:${http.port}/none`)
    expect(late.headers.get('connection')).toBe('close')
    await until(() => expect(app.getHttpServer().listening).toBe(false))
    answer()
    expect(await (await slow).json()).toEqual({ id: '7' })
    expect(await stopping).toMatchObject({ cut: [], failed: [], requestsAfterSignal: 1 })
    expect(events).toEqual(['began', 'destroyed', 'db closed'])
  })

  it('on Fastify: bodies, routes, problems and the drain are the same', async () => {
    const telemetry = startTelemetry({ service: 'films', sampling: { ratio: 1 } })
    cleanups.push(() => telemetry.close())
    class AppModule {}
    Module({ imports: [PlatformModule.forRoot({})], controllers: [FilmsController] })(AppModule)
    const app = await NestFactory.create(AppModule, new FastifyAdapter(), { logger: false })
    const http = nestHttp(app, {
      port: 0,
      host: '127.0.0.1',
      minDrainMs: 0,
      quietWindowMs: 50,
      bodyLimitBytes: 1_000,
      inbound: [telemetry.inbound],
    })
    cleanups.push(() => http.close({ timeoutMs: 0 }))
    await http.ready()
    const post = async (body: string, type = 'application/json') => {
      const sent = { method: 'POST', body, headers: { 'content-type': type } }
      const response = await fetch(`http://127.0.0.1:${http.port}/films/7/orders`, sent)
      return { status: response.status, body: (await response.json()) as Record<string, unknown> }
    }
    expect(await post('{"film":1}')).toEqual({ status: 201, body: { id: '7', film: 1 } })
    expect(await post('{"film":"x"}')).toMatchObject({ status: 400, body: { errors: [{ pointer: '#/film' }] } })
    expect(await post('{"film": secret}')).toMatchObject({ status: 400, body: { title: 'Bad Request' } })
    expect(JSON.stringify(await post('{"film": secret}'))).not.toContain('secret')
    expect(await post(`{"film":1,"pad":"${'x'.repeat(2_000)}"}`)).toMatchObject({ status: 413, body: { title: 'Payload Too Large' } })
    expect(await post('<film/>', 'application/xml')).toMatchObject({ status: 415 })
    expect(await post('{"film":1}', 'application/vnd.film+json; charset=utf-8')).toMatchObject({ status: 201 })
    const { body } = await telemetry.metrics({ headers: {} })
    expect(body).toContain('http_response_status_code="201",http_route="/films/:id/orders"')
    await http.drain()
    await http.close()
    await expect(post('{"film":1}')).rejects.toThrow('fetch failed')
  })

  it.each([true, false])(
    'a stop while Nest initialises waits for its hooks, and runs those of the end after them (HTTP: %s)',
    async (isHttp) => {
      const events: string[] = []
      let go = () => {}
      class Slow {
        async onModuleInit(): Promise<void> {
          events.push('init')
          await new Promise<void>((resolve) => (go = resolve))
          events.push('initialised')
        }
        onModuleDestroy(): void {
          events.push('destroyed')
        }
      }
      class AppModule {}
      Module({ providers: [Slow] })(AppModule)
      // createApplicationContext runs the init hooks by itself.
      const app = await NestFactory.create(AppModule, { logger: false })
      const component = isHttp ? nestHttp(app, { port: 0, host: '127.0.0.1' }) : nestContext(app)
      const service = createService({ name: 'films', components: { nest: component } })
      const started = service.start().catch((error: unknown) => error)
      await until(() => expect(events).toEqual(['init']))
      const stopped = service.stop('SIGTERM')
      expect(await started).toMatchObject({ code: 'ERR_SERVICE_STOPPED' })
      go()
      expect(await stopped).toMatchObject({ cut: [], failed: [] })
      expect(events).toEqual(['init', 'initialised', 'destroyed'])
    },
  )

  it('rejects when Nest cannot be initialised, and closes what there is', async () => {
    class Broken {
      onModuleInit(): void {
        throw new Error('no schema')
      }
    }
    class AppModule {}
    Module({ providers: [Broken] })(AppModule)
    const app = await NestFactory.create(AppModule, { logger: false, abortOnError: false })
    const http = nestHttp(app, { port: 0, host: '127.0.0.1' })
    await expect(http.ready()).rejects.toThrow('no schema')
    expect(app.getHttpServer().listening).toBe(false)
    await http.close()
  })

  it.each([
    ['bodyLimitBytes', { port: 0, bodyLimitBytes: 0 }],
    ['contentTypes', { port: 0, contentTypes: 'application/json' }],
    ['bodyLimit ', { port: 0, bodyLimit: 5 }],
  ])('names a wrong %s', async (name, options) => {
    const { app } = await filmApp()
    expect(() => nestHttp(app, options as never)).toThrow(expect.objectContaining({ message: expect.stringContaining(name) }))
    await app.close()
  })
})
