import type { DynamicModule, FactoryProvider, ModuleMetadata, Provider, Type } from '@nestjs/common'
import { ConsumersModule } from './consumers.ts'
import { functionOption, knownOptions } from '@platform/kernel'
import { NestjsError } from './errors.ts'
import { NestStartModule } from './nest-start.ts'
import { ownedBy } from './owned.ts'
import {
  PlatformBroker,
  PlatformCache,
  PlatformConfig,
  PlatformDb,
  PlatformDiscovery,
  PlatformHealth,
  PlatformLogger,
  PlatformTelemetry,
} from './tokens.ts'

export interface ObjectFactory<T> {
  /** Modules whose exports the factory is injected with. */
  imports?: ModuleMetadata['imports']
  /** What the factory is called with, in this order. */
  inject?: FactoryProvider['inject']
  useFactory(...dependencies: never[]): T | Promise<T>
}

export function assertFactory(
  refuse: (option: string, problem: string) => NestjsError,
  factory: ObjectFactory<unknown>,
  more: readonly string[] = [],
): void {
  knownOptions(refuse, '', factory, ['imports', 'inject', 'useFactory', ...more])
  if (factory.useFactory === undefined) throw refuse('useFactory', 'must be a function')
  functionOption(refuse, 'useFactory', factory.useFactory)
}

/** One object of the platform, injectable everywhere by its class. */
export interface ObjectModule<T> {
  /** An object that somebody else made, starts and closes: a service of `@platform/service`. */
  forRoot(object: T): DynamicModule
  /** An object that is made inside of Nest: awaited (`ready`) in the application's init, closed with it. */
  forRootAsync(factory: ObjectFactory<T>): DynamicModule
}

function objectModule<T extends object>(
  name: string,
  token: object & { readonly name: string },
  more: readonly Type[] = [],
): ObjectModule<T> {
  const module = class {}
  Object.defineProperty(module, 'name', { value: name })
  const found = (object: T | undefined): T => {
    if (typeof object === 'object' && object !== null) return object
    throw new NestjsError('ERR_NESTJS_OPTION', `${name} was given no object`)
  }
  const around = { module, global: true, exports: [token as Type, ...more] }
  return {
    forRoot: (object) => ({ ...around, imports: [...more], providers: [{ provide: token as Type, useValue: found(object) }] }),
    forRootAsync(factory) {
      assertFactory((option, problem) => new NestjsError('ERR_NESTJS_OPTION', `${name}: ${option} ${problem}`), factory)
      const { imports = [], inject = [], useFactory } = factory
      const make = useFactory as (...dependencies: unknown[]) => T | Promise<T>
      const provider: Provider = {
        provide: token as Type,
        inject,
        useFactory: async (...dependencies: unknown[]) => found(await make(...dependencies)),
      }
      return { ...around, imports: [NestStartModule, ...more, ...imports], providers: [provider, ownedBy(token)] }
    },
  }
}

export const PlatformConfigModule: ObjectModule<PlatformConfig> = objectModule('PlatformConfigModule', PlatformConfig)
export const PlatformLoggerModule: ObjectModule<PlatformLogger> = objectModule('PlatformLoggerModule', PlatformLogger)
export const PlatformTelemetryModule: ObjectModule<PlatformTelemetry> = objectModule('PlatformTelemetryModule', PlatformTelemetry)
export const PlatformDbModule: ObjectModule<PlatformDb> = objectModule('PlatformDbModule', PlatformDb)
export const PlatformCacheModule: ObjectModule<PlatformCache> = objectModule('PlatformCacheModule', PlatformCache)
/** Consumes for every method with `@Consume`. */
export const PlatformQueueModule: ObjectModule<PlatformBroker> = objectModule('PlatformQueueModule', PlatformBroker, [ConsumersModule])
export const PlatformDiscoveryModule: ObjectModule<PlatformDiscovery> = objectModule('PlatformDiscoveryModule', PlatformDiscovery)
export const PlatformHealthModule: ObjectModule<PlatformHealth> = objectModule('PlatformHealthModule', PlatformHealth)
