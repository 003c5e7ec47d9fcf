import { Module, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common'
import { DiscoveryModule, DiscoveryService, MetadataScanner, Reflector } from '@nestjs/core'
import type { Broker, Consumer, Delivery, HandlerContext } from '@platform/queue'
import { CONSUMED, type Consumed } from './consume.ts'
import { NestjsError } from './errors.ts'
import { NestStart, NestStartModule } from './nest-start.ts'
import { PlatformBroker } from './tokens.ts'

type Handler = (delivery: Delivery<unknown>, context: HandlerContext) => Promise<void>

interface Found extends Consumed {
  readonly instance: Readonly<Record<string, Handler>>
  readonly method: string
}

/**
 * The consumers of all methods with `@Consume`. They subscribe when everything else of the application is initialised, and hand over while it
 * stops: with `nestHttp` and `nestContext` in the phases of the service, otherwise in Nest's destroy hooks.
 */
export class PlatformConsumers implements OnApplicationBootstrap, OnModuleDestroy {
  readonly #find: () => readonly Found[]
  readonly #broker: Broker | undefined
  readonly #start: NestStart
  #consumers: readonly Consumer[] = []

  constructor(find: () => readonly Found[], broker: Broker | undefined, start: NestStart) {
    this.#find = find
    this.#broker = broker
    this.#start = start
  }

  async onApplicationBootstrap(): Promise<void> {
    const broker = this.#broker
    this.#consumers = this.#find().map(({ message, options, instance, method }) => {
      if (broker) return broker.consumer(message, (delivery, context) => instance[method]!(delivery, context), options)
      const where = `${instance.constructor.name}.${method}`
      throw new NestjsError('ERR_NESTJS_OPTION', `@Consume at ${where} needs a broker: PlatformQueueModule, or PlatformModule with one`)
    })
    await Promise.all(this.#consumers.map((consumer) => consumer.ready({ signal: this.#start.signal })))
  }

  async check(): Promise<void | { status: 'warn'; message: string }> {
    const found = await Promise.all(this.#consumers.map((consumer) => consumer.check()))
    return found.find((warning) => warning !== undefined)
  }

  async quiesce(): Promise<void> {
    await Promise.all(this.#consumers.map((consumer) => consumer.quiesce()))
  }

  async drain(options?: { signal?: AbortSignal }): Promise<void> {
    await Promise.all(this.#consumers.map((consumer) => consumer.drain(options)))
  }

  async onModuleDestroy(): Promise<void> {
    await Promise.all(this.#consumers.map((consumer) => consumer.close({ timeoutMs: 10_000 })))
  }
}

function findConsumed(discovery: DiscoveryService, scanner: MetadataScanner, reflector: Reflector): Found[] {
  const wrappers = [...discovery.getProviders(), ...discovery.getControllers()]
  return wrappers.flatMap((wrapper) => {
    const prototype = (wrapper.metatype as { prototype?: Record<string, Handler> } | null)?.prototype
    // A factory's function has a prototype too, of nobody's instances.
    if (!prototype || wrapper.inject) return []
    return scanner.getAllMethodNames(prototype).flatMap((method) => {
      const consumed = reflector.get<Consumed | undefined>(CONSUMED, prototype[method]!)
      if (!consumed) return []
      if (wrapper.isDependencyTreeStatic() && !wrapper.isTransient)
        return [{ ...consumed, instance: wrapper.instance as Found['instance'], method }]
      throw new NestjsError('ERR_NESTJS_OPTION', `@Consume at ${wrapper.name}.${method}: its class must live as long as the application`)
    })
  })
}

/** One for an application, however many modules of ours it has. */
export class ConsumersModule {}
Module({
  imports: [DiscoveryModule, NestStartModule],
  providers: [
    {
      provide: PlatformConsumers,
      inject: [DiscoveryService, MetadataScanner, Reflector, NestStart, { token: PlatformBroker, optional: true }],
      useFactory: (
        discovery: DiscoveryService,
        scanner: MetadataScanner,
        reflector: Reflector,
        start: NestStart,
        broker: Broker | undefined,
      ) => new PlatformConsumers(() => findConsumed(discovery, scanner, reflector), broker, start),
    },
  ],
  exports: [PlatformConsumers],
})(ConsumersModule)
