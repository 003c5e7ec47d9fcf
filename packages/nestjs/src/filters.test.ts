import { createRequire } from 'node:module'
import 'reflect-metadata'
import { createServer } from 'node:net'
import {
  Catch,
  ConflictException,
  Controller,
  type DynamicModule,
  Get,
  HttpException,
  type INestApplication,
  Module,
  Param,
  type Provider,
  Scope,
  type Type,
  UnprocessableEntityException,
  UseFilters,
} from '@nestjs/common'
import { APP_FILTER, NestFactory } from '@nestjs/core'
import { ClientProxyFactory, MessagePattern, RpcException, Transport } from '@nestjs/microservices'
import { FastifyAdapter } from '@nestjs/platform-fastify'
import { Test } from '@nestjs/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { method } from './film-app.fixture.ts'
import { PlatformModule, ProblemFilter } from './index.ts'

/** It has no `errorCode`; the floor's run of this suite is on it. */
const { version } = createRequire(import.meta.url)('@nestjs/core/package.json') as { version: string }
const nest11 = version.startsWith('11.')

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0)) await clean()
})

class OutOfStock extends Error {}
type Responder = { switchToHttp(): { getResponse(): { status(code: number): { json?(body: object): void; send(body: object): void } } } }
class OwnFilter {
  catch(_error: unknown, host: Responder): void {
    host.switchToHttp().getResponse().status(409).send({ by: 'the application' })
  }
}
Catch(OutOfStock)(OwnFilter)
class CatchAll extends OwnFilter {}
Catch()(CatchAll)

class Orders {
  place(): void {
    throw new OutOfStock('none left')
  }
  conflict(): void {
    throw new ConflictException({ message: 'sold out', code: 'SOLD_OUT', left: 0, type: 'https://films.example/sold-out', self: circular })
  }
  numbered(): void {
    throw new HttpException('gone', 410, { errorCode: 'FILM_GONE' })
  }
  /** What `exceptionFactory` of Nest's ValidationPipe hands on, class-validator's errors with all they hold. */
  validated(): void {
    const target = { password: 'hunter2' }
    throw new UnprocessableEntityException([
      { property: 'film', target, value: 'hunter2', constraints: { isInt: 'film must be an integer' }, children: [] },
      {
        property: 'lines',
        target,
        children: [{ property: '0', children: [{ property: 'a/b', constraints: { min: 'too few', max: 'too many' } }] }],
      },
      'a sentence',
    ])
  }
  /** As http-errors and Fastify mark them, and whoever else gives an error a status. */
  marked(kind: string): void {
    if (kind === 'meant') throw Object.assign(new Error('no seat left'), { statusCode: 409, expose: true, code: 'NO_SEAT' })
    throw Object.assign(new Error('hunter2'), { statusCode: kind === 'theirs' ? 403 : 503 })
  }
}
const circular: { self?: unknown } = {}
circular.self = circular
Controller('orders')(Orders)
method(Orders, 'place', [Get('place')])
method(Orders, 'conflict', [Get('conflict')])
method(Orders, 'numbered', [Get('numbered')])
method(Orders, 'validated', [Get('validated')])
method(Orders, 'marked', [Get('marked/:kind')], [Param('kind')])
class Guarded extends Orders {}
Controller('guarded')(Guarded)
UseFilters(new OwnFilter())(Guarded)

async function application(imports: (Type | DynamicModule)[], providers: Provider[] = [], fastify = false): Promise<INestApplication> {
  class AppModule {}
  Module({ imports, controllers: [Orders, Guarded], providers })(AppModule)
  const options = { logger: false as const, abortOnError: false }
  const app = fastify ? await NestFactory.create(AppModule, new FastifyAdapter(), options) : await NestFactory.create(AppModule, options)
  cleanups.push(() => app.close())
  return app
}

async function asked(app: INestApplication, path: string, init?: RequestInit) {
  if (!app.getHttpServer().listening) await app.listen(0, '127.0.0.1')
  const response = await fetch(`${await app.getUrl()}${path}`, init)
  const text = await response.text()
  return { status: response.status, type: response.headers.get('content-type'), body: JSON.parse(text) as Record<string, unknown> }
}

describe.each([
  ['Express', false],
  ['Fastify', true],
])('on %s every filter of the application wins', (_name, fastify) => {
  const platform = PlatformModule.forRoot({})
  class FilterModule {}
  Module({ providers: [{ provide: APP_FILTER, useClass: OwnFilter }] })(FilterModule)

  it.each<[string, () => Promise<INestApplication>, string]>([
    ['one of the root module', () => application([platform], [{ provide: APP_FILTER, useClass: OwnFilter }], fastify), 'orders'],
    ['one of a module before ours', () => application([FilterModule, platform], [], fastify), 'orders'],
    ['one of a module behind ours', () => application([platform, FilterModule], [], fastify), 'orders'],
    ['one that catches all', () => application([platform], [{ provide: APP_FILTER, useClass: CatchAll }], fastify), 'orders'],
    [
      'one that lives for a request',
      () => application([platform], [{ provide: APP_FILTER, useClass: OwnFilter, scope: Scope.REQUEST }], fastify),
      'orders',
    ],
    ['one given to useGlobalFilters', async () => (await application([platform], [], fastify)).useGlobalFilters(new OwnFilter()), 'orders'],
    ['one of a controller', () => application([platform], [], fastify), 'guarded'],
  ])('%s', async (name, make, controller) => {
    const app = await make()
    // Nest asks filters that live for a request only where something of the request does.
    const expected = name === 'one that lives for a request' ? (await asked(await without(fastify), `/${controller}/place`)).status : 409
    expect((await asked(app, `/${controller}/place`)).status).toBe(expected)
  })

  it('and what none of them takes is a problem, an unknown path too', async () => {
    const app = await application([platform], [{ provide: APP_FILTER, useClass: OwnFilter }], fastify)
    const conflict = await asked(app, '/orders/conflict')
    expect(conflict.type).toMatch(/^application\/problem\+json/)
    expect(conflict.body).toEqual({
      type: 'https://films.example/sold-out',
      title: 'Conflict',
      status: 409,
      detail: 'sold out',
      code: 'SOLD_OUT',
      left: 0,
    })
    expect((await asked(app, '/orders/numbered')).body).toMatchObject({
      status: 410,
      detail: 'gone',
      ...(nest11 ? {} : { errorCode: 'FILM_GONE' }),
    })
    expect(await asked(app, '/nowhere')).toMatchObject({ status: 404, body: { status: 404, title: 'Not Found' } })
  })
})

it.each([false, true])('errors of a validation are told by field, without what was sent (Fastify: %s)', async (fastify) => {
  const app = await application([PlatformModule.forRoot({})], [], fastify)
  const { status, body } = await asked(app, '/orders/validated')
  expect(status).toBe(422)
  expect(body['errors']).toEqual([
    { pointer: '#/film', message: 'film must be an integer' },
    { pointer: '#/lines/0/a~1b', message: 'too few' },
    { pointer: '#/lines/0/a~1b', message: 'too many' },
    { message: 'a sentence' },
  ])
  expect(JSON.stringify(body)).not.toContain('hunter2')
})

it.each([false, true])('an error that carries a status is answered with it, in its words if it says so (Fastify: %s)', async (fastify) => {
  const app = await application([PlatformModule.forRoot({})], [], fastify)
  expect((await asked(app, '/orders/marked/meant')).body).toMatchObject({ status: 409, detail: 'no seat left', code: 'NO_SEAT' })
  expect((await asked(app, '/orders/marked/theirs')).body).toEqual({ type: 'about:blank', title: 'Forbidden', status: 403 })
  expect((await asked(app, '/orders/marked/down')).body).toEqual({ type: 'about:blank', title: 'Service Unavailable', status: 503 })
})

/** The same application without our module. */
async function without(fastify: boolean): Promise<INestApplication> {
  return application([], [{ provide: APP_FILTER, useClass: OwnFilter, scope: Scope.REQUEST }], fastify)
}

it('with a global prefix what lies outside of it is a problem too, and handlers that are added late still answer', async () => {
  const app = await application([PlatformModule.forRoot({})])
  app.setGlobalPrefix('api')
  await app.init()
  app.use('/late', (_request: unknown, response: { json(body: object): void }) => response.json({ late: true }))
  expect(await asked(app, '/api/orders/conflict')).toMatchObject({ status: 409 })
  expect(await asked(app, '/api/nowhere')).toMatchObject({ status: 404, body: { title: 'Not Found' } })
  const outside = await asked(app, '/nowhere')
  expect(outside).toMatchObject({ status: 404, body: { title: 'Not Found', status: 404 } })
  expect(outside.type).toMatch(/^application\/problem\+json/)
  // Nest 11 ends its own stack of handlers with init.
  expect(await asked(app, '/late')).toMatchObject(nest11 ? { status: 404 } : { status: 200, body: { late: true } })
})

it('the filter can be replaced in a test', async () => {
  const testing = await Test.createTestingModule({ imports: [PlatformModule.forRoot({})], controllers: [Orders] })
    .overrideProvider(ProblemFilter)
    .useValue({})
    .compile()
  const app = testing.createNestApplication({ logger: false })
  cleanups.push(() => app.close())
  expect((await asked(app, '/orders/conflict')).body).not.toHaveProperty('title')
})

describe('microservices', () => {
  class Sums {
    rpc(): void {
      throw new RpcException({ status: 'error', code: 'TOO_LARGE' })
    }
    bug(): void {
      throw new Error('password hunter2')
    }
    http(): void {
      throw new ConflictException('sold out')
    }
  }
  Controller()(Sums)
  for (const name of ['rpc', 'bug', 'http']) method(Sums, name, [MessagePattern(name)])

  async function freePort(): Promise<number> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    await new Promise((resolve) => server.close(resolve))
    return port
  }

  /** What callers of the same controller get, in a hybrid application or in one that only serves messages. */
  async function answers(problemFilter: boolean, hybrid: boolean): Promise<unknown[]> {
    class AppModule {}
    Module({ imports: [PlatformModule.forRoot({ problemFilter })], controllers: [Sums] })(AppModule)
    const options = { transport: Transport.TCP as const, options: { port: await freePort(), host: '127.0.0.1' } }
    const app = hybrid
      ? await NestFactory.create(AppModule, { logger: false })
      : await NestFactory.createMicroservice(AppModule, { ...options, logger: false })
    if ('connectMicroservice' in app) {
      app.connectMicroservice(options, { inheritAppConfig: true })
      await app.startAllMicroservices()
    } else await app.listen()
    const client = ClientProxyFactory.create(options)
    try {
      const ask = (pattern: string) =>
        new Promise((resolve) => client.send(pattern, {}).subscribe({ next: () => resolve('a value'), error: resolve }))
      return await Promise.all(['rpc', 'bug', 'http'].map(ask))
    } finally {
      await client.close()
      await app.close()
    }
  }

  it.each([true, false])('callers get the errors that Nest gives them (hybrid: %s)', async (hybrid) => {
    const given = await answers(true, hybrid)
    expect(given).toEqual(await answers(false, hybrid))
    expect(given[0]).toMatchObject({ code: 'TOO_LARGE' })
    expect(JSON.stringify(given[1])).not.toContain('hunter2')
  })
})
