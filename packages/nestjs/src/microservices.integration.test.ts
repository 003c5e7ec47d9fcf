import 'reflect-metadata'
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { Controller, Module, type Type } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import {
  type ClientProxy,
  ClientProxyFactory,
  EventPattern,
  MessagePattern,
  type MicroserviceOptions,
  RpcException,
  type TcpClientOptions,
  Transport,
} from '@nestjs/microservices'
import { createService } from '@platform/service'
import { faultProxy } from '@platform/stack'
import { testRedis } from '@platform/stack/testing'
import { concat, from, lastValueFrom, type Observable, of, toArray } from 'rxjs'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { method } from './film-app.fixture.ts'
import { type HttpServer, nestHttp } from './http.ts'
import { type NestContext, nestContext } from './index.ts'

const patience = { timeout: 10_000, interval: 5 }
const quiet = { logger: false as const, abortOnError: false }
const cleanups: (() => Promise<unknown>)[] = []
let redis: Awaited<ReturnType<typeof testRedis>>
beforeAll(async () => {
  redis = await testRedis()
})
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean()
})
afterAll(() => redis?.close())

async function transportOf(name: string): Promise<MicroserviceOptions & object> {
  if (name !== 'tcp') {
    const proxy = await faultProxy(redis.url)
    cleanups.push(() => proxy.close())
    if (name === 'slow redis') proxy.delay(50)
    return redisAt(proxy.url)
  }
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return { transport: Transport.TCP, options: { host: '127.0.0.1', port } }
}

function redisAt(url: string): MicroserviceOptions & object {
  const { hostname: host, port, username, password, pathname } = new URL(url)
  const login = { ...(username ? { username } : {}), ...(password ? { password: decodeURIComponent(password) } : {}) }
  return { transport: Transport.REDIS, options: { host, port: Number(port), db: Number(pathname.slice(1) || 0), ...login } }
}

/** A class of its own for each test: what a decorator says stays with the class. Channels of Redis are shared by all databases, hence the names. */
function pricesClass() {
  class Prices {
    static names = { price: `price-${randomUUID()}`, changed: `changed-${randomUUID()}`, history: `history-${randomUUID()}` }
    static begun: string[] = []
    static told: string[] = []
    static hooks: string[] = []
    static gate = Promise.withResolvers<void>()
    onModuleInit(): void {
      Prices.hooks.push('init')
    }
    onApplicationBootstrap(): void {
      Prices.hooks.push('bootstrap')
    }
    onModuleDestroy(): void {
      Prices.hooks.push('destroy')
    }
    async price(film: string): Promise<string> {
      Prices.begun.push(film)
      await Prices.gate.promise
      if (film === 'unknown') throw new RpcException('no such film')
      return `${film}: 7`
    }
    history(film: string): Observable<string> {
      Prices.begun.push(film)
      return concat(of('first'), from(Prices.gate.promise.then(() => 'second')), of('third'))
    }
    async changed(film: string): Promise<void> {
      Prices.begun.push(film)
      await Prices.gate.promise
      Prices.told.push(film)
    }
  }
  Controller()(Prices)
  const { price, changed, history } = Prices.names
  method(Prices as unknown as Type, 'price', [MessagePattern(price)])
  method(Prices as unknown as Type, 'history', [MessagePattern(history)])
  method(Prices as unknown as Type, 'changed', [EventPattern(changed) as MethodDecorator])
  class AppModule {}
  Module({ controllers: [Prices as unknown as Type] })(AppModule)
  return { Prices, AppModule }
}

async function started(kind: 'alone' | 'beside HTTP', transport: string) {
  const { Prices, AppModule } = pricesClass()
  const options = await transportOf(transport)
  let nest: NestContext | HttpServer
  if (kind === 'alone') nest = nestContext(await NestFactory.createMicroservice<MicroserviceOptions>(AppModule, { ...options, ...quiet }))
  else {
    const app = await NestFactory.create(AppModule, quiet)
    app.connectMicroservice<MicroserviceOptions>(options)
    nest = nestHttp(app, { port: 0, host: '127.0.0.1', minDrainMs: 0, quietWindowMs: 10, maxQuietWaitMs: 10 })
  }
  const service = createService({ name: 'prices', components: { nest } })
  await service.start()
  cleanups.push(() => service.stop('test'))
  const client: ClientProxy = ClientProxyFactory.create(options as TcpClientOptions)
  cleanups.push(async () => client.close())
  await client.connect()
  const ask = async (pattern: 'price' | 'history', film: string): Promise<unknown> =>
    lastValueFrom(client.send<string>(Prices.names[pattern], film).pipe(toArray())).catch((error: unknown) => error)
  const tell = (film: string) => client.emit(Prices.names.changed, film).subscribe()
  const begun = (...films: string[]) => vi.waitFor(() => expect(Prices.begun.toSorted()).toEqual(films), patience)
  return { Prices, service, nest, ask, tell, begun }
}

describe.each(['alone', 'beside HTTP'] as const)('a microservice %s', (kind) => {
  it('runs its hooks once', async () => {
    const { Prices, service } = await started(kind, 'tcp')
    expect(Prices.hooks).toEqual(['init', 'bootstrap'])
    await service.stop('test')
    expect(Prices.hooks).toEqual(['init', 'bootstrap', 'destroy'])
  })

  it.each(['tcp', 'redis', 'slow redis'])(
    'answers what it has in hand when its service is stopped, failures and streams too (%s)',
    async (transport) => {
      const { Prices, service, ask, tell, begun } = await started(kind, transport)
      const answers = Promise.all([ask('price', 'Metropolis'), ask('price', 'unknown'), ask('history', 'Sunrise')])
      tell('Nosferatu')
      await begun('Metropolis', 'Nosferatu', 'Sunrise', 'unknown')
      const stopped = service.stop('test')
      // Long enough for a transport that nobody waits for to be gone.
      await pause(200)
      expect(Prices.hooks).not.toContain('destroy')
      Prices.gate.resolve()
      expect(await answers).toMatchObject([['Metropolis: 7'], { message: 'no such film' }, ['first', 'second', 'third']])
      expect(await stopped).toMatchObject({ cut: [], failed: [] })
      expect(Prices.told).toEqual(['Nosferatu'])
    },
  )

  it('that is closed without a service answers what it has in hand', async () => {
    const { Prices, nest, ask, begun } = await started(kind, 'tcp')
    const answer = ask('price', 'Metropolis')
    await begun('Metropolis')
    const closed = nest.close({ timeoutMs: 20_000 })
    await pause(200)
    Prices.gate.resolve()
    expect(await answer).toEqual(['Metropolis: 7'])
    await closed
    expect(Prices.hooks).toContain('destroy')
  })

  it('that is closed does not wait for what never ends', async () => {
    const { Prices, nest, ask, begun } = await started(kind, 'tcp')
    const answer = ask('price', 'Metropolis')
    await begun('Metropolis')
    await nest.close({ timeoutMs: 500 })
    expect(await answer).toBeInstanceOf(Error)
    expect(Prices.hooks).toContain('destroy')
    Prices.gate.resolve()
  })
})

it('a microservice over Redis that is ready hears what is sent at once, however late its subscriptions reach the server', async () => {
  const proxy = await faultProxy(redis.url)
  cleanups.push(() => proxy.close())
  proxy.delay(300)
  const client: ClientProxy = ClientProxyFactory.create(redisAt(redis.url) as TcpClientOptions)
  cleanups.push(async () => client.close())
  await client.connect()
  const { Prices, AppModule } = pricesClass()
  Prices.gate.resolve()
  const nest = nestContext(await NestFactory.createMicroservice<MicroserviceOptions>(AppModule, { ...redisAt(proxy.url), ...quiet }))
  cleanups.push(() => nest.close())
  await nest.ready()
  client.emit(Prices.names.changed, 'Nosferatu').subscribe()
  await vi.waitFor(() => expect(Prices.told).toEqual(['Nosferatu']), patience)
})
