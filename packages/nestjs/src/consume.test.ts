import 'reflect-metadata'
import { Controller, type DynamicModule, Injectable, Module, Scope, type Type } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { type Broker, createBroker, defineMessage, type Delivery, type Message } from '@platform/queue'
import { memory } from '@platform/queue/memory'
import { component, createService } from '@platform/service'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { z } from 'zod'
import { method } from './film-app.fixture.ts'
import { nestHttp } from './http.ts'
import { Consume, nestContext, PlatformModule, PlatformQueueModule } from './index.ts'

const until = (assert: () => void) => vi.waitFor(assert, { timeout: 10_000, interval: 5 })
const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0)) await clean()
})

const sold: Message<{ film: string }, { film: string }> = defineMessage('films.sold', {
  version: 1,
  schema: z.object({ film: z.string() }),
})

/** A class of its own for each test: what a decorator says stays with the class. */
function shippingClass() {
  return class Shipping {
    readonly begun: string[] = []
    readonly shipped: string[] = []
    gate: Promise<void> = Promise.resolve()
    async ship({ body }: Delivery<{ film: string }>): Promise<void> {
      this.begun.push(body.film)
      await this.gate
      this.shipped.push(body.film)
    }
  }
}

function consuming() {
  const Shipping = shippingClass()
  Injectable()(Shipping)
  method(Shipping, 'ship', [Consume(sold, { group: 'shipping' }) as MethodDecorator])
  return Shipping
}

function brokerOf(): Broker {
  const broker = createBroker({ driver: memory(), service: 'films' })
  cleanups.push(() => broker.close())
  return broker
}

function moduleWith(imports: (DynamicModule | Type)[], providers: Type[], controllers: Type[] = []): Type {
  class AppModule {}
  Module({ imports, providers, controllers })(AppModule)
  return AppModule
}

const quiet = { logger: false as const, abortOnError: false }

describe('@Consume', () => {
  it.each([
    ['a provider', false],
    ['a controller', true],
  ])('gives %s the messages of its group, with its own this, once however many modules there are', async (_name, isController) => {
    const broker = brokerOf()
    const Shipping = consuming()
    if (isController) Controller()(Shipping)
    const imports = [PlatformModule.forRoot({ broker }), PlatformQueueModule.forRoot(broker)]
    const app = await NestFactory.create(moduleWith(imports, isController ? [] : [Shipping], isController ? [Shipping] : []), quiet)
    await app.init()
    await broker.publish(sold, { film: 'Metropolis' })
    await broker.publish(sold, { film: 'Nosferatu' })
    await until(() => expect(app.get(Shipping).shipped.toSorted()).toEqual(['Metropolis', 'Nosferatu']))
    expect(broker.stats().consumers).toBe(1)
    await app.close()
    expect(broker.stats().consumers).toBe(0)
  })

  it.each(['nestHttp', 'nestContext'])('in a service, %s takes no more at its stop and finishes what it has', async (way) => {
    const broker = brokerOf()
    const Shipping = consuming()
    const AppModule = moduleWith([PlatformQueueModule.forRoot(broker)], [Shipping])
    const made =
      way === 'nestHttp'
        ? await NestFactory.create(AppModule, quiet).then((app) => ({
            app,
            nest: nestHttp(app, { port: 0, host: '127.0.0.1', minDrainMs: 0, quietWindowMs: 10 }),
          }))
        : await NestFactory.createApplicationContext(AppModule, quiet).then((app) => ({ app, nest: nestContext(app) }))
    const { app, nest } = made
    const service = createService({
      name: 'films',
      components: { broker, nest: component(nest, { needs: ['broker'], check: 'critical' }) },
    })
    await service.start()
    const shipping = app.get(Shipping)
    const gate = Promise.withResolvers<void>()
    shipping.gate = gate.promise
    await broker.publish(sold, { film: 'Metropolis' })
    await until(() => expect(shipping.begun).toEqual(['Metropolis']))
    const stopped = service.stop('test')
    gate.resolve()
    expect(await stopped).toMatchObject({ cut: [], failed: [] })
    expect(shipping.shipped).toEqual(['Metropolis'])
  })

  it('says at the start what it misses: a broker, an instance that lives', async () => {
    const homeless = await NestFactory.create(moduleWith([PlatformModule.forRoot({})], [consuming()]), quiet)
    cleanups.push(() => homeless.close())
    await expect(homeless.init()).rejects.toMatchObject({ code: 'ERR_NESTJS_OPTION', message: expect.stringContaining('Shipping.ship') })

    const Shipping = consuming()
    Injectable({ scope: Scope.TRANSIENT })(Shipping)
    const fleeting = await NestFactory.create(moduleWith([PlatformQueueModule.forRoot(brokerOf())], [Shipping]), quiet)
    cleanups.push(() => fleeting.close())
    await expect(fleeting.init()).rejects.toMatchObject({
      code: 'ERR_NESTJS_OPTION',
      message: expect.stringContaining('as long as the application'),
    })
  })

  it('takes a method that fits its message only', () => {
    class Wrong {
      async price(_delivery: Delivery<{ price: number }>): Promise<void> {}
    }
    const descriptor = Object.getOwnPropertyDescriptor(Wrong.prototype, 'price') as TypedPropertyDescriptor<Wrong['price']>
    const prices = Consume(sold, { group: 'prices' })
    // @ts-expect-error films.sold has no price
    expect(() => prices(Wrong.prototype, 'price', descriptor)).not.toThrow()
  })
})
