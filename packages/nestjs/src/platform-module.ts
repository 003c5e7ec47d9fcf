import type { DynamicModule, Provider, Type } from '@nestjs/common'
import { ApplicationConfig, HttpAdapterHost } from '@nestjs/core'
import type { Cache } from '@platform/cache'
import type { Config } from '@platform/config'
import type { DbPool } from '@platform/db-pool'
import type { Discovery } from '@platform/discovery'
import type { Health } from '@platform/health'
import type { Logger } from '@platform/logger'
import type { Broker } from '@platform/queue'
import type { Telemetry } from '@platform/telemetry'
import { knownOptions } from '@platform/kernel'
import { NestjsError } from './errors.ts'
import { ConsumersModule } from './consumers.ts'
import { answerUnrouted, asLastFilter } from './last-filter.ts'
import { NestStartModule } from './nest-start.ts'
import { assertFactory, type ObjectFactory } from './object-module.ts'
import { ownedBy } from './owned.ts'
import { ProblemFilter } from './problem-filter.ts'
import {
  componentToken,
  PlatformBroker,
  PlatformCache,
  PlatformConfig,
  PlatformDb,
  PlatformDiscovery,
  PlatformHealth,
  PlatformLogger,
  PlatformTelemetry,
} from './tokens.ts'

export interface PlatformObjects {
  /** Injectable as `PlatformConfig`. */
  config: Config<unknown>
  /** Injectable as `PlatformLogger`; the problem filter writes to it. */
  logger: Logger
  /** Injectable as `PlatformTelemetry`. */
  telemetry: Telemetry
  /** Injectable as `PlatformDb`. */
  db: DbPool
  /** Injectable as `PlatformCache`. */
  cache: Cache
  /** Injectable as `PlatformBroker`; the methods with `@Consume` consume by it. */
  broker: Broker
  /** Injectable as `PlatformDiscovery`. */
  discovery: Discovery
  /** Injectable as `PlatformHealth`. */
  health: Health
}

export interface PlatformModuleOptions extends Partial<{ [Name in keyof PlatformObjects]: PlatformObjects[Name] | undefined }> {
  /** Anything else, injectable by `componentToken(name)`. */
  components?: Readonly<Record<string, object>> | undefined
  /** Errors become `application/problem+json`. Default true. */
  problemFilter?: boolean | undefined
}

export interface PlatformModuleAsyncOptions<Name extends keyof PlatformObjects> extends ObjectFactory<Pick<PlatformObjects, Name>> {
  /** Which objects the factory gives. */
  provides: readonly Name[]
  /** As in `forRoot`. */
  problemFilter?: boolean | undefined
}

const tokens = {
  config: PlatformConfig,
  logger: PlatformLogger,
  telemetry: PlatformTelemetry,
  db: PlatformDb,
  cache: PlatformCache,
  broker: PlatformBroker,
  discovery: PlatformDiscovery,
  health: PlatformHealth,
} as const
const names = Object.keys(tokens) as (keyof PlatformObjects)[]

const refuse = (option: string, problem: string): NestjsError =>
  new NestjsError('ERR_NESTJS_OPTION', `PlatformModule: ${option} ${problem}`)

/** Behind every filter of the application; its logger is whichever the application has. */
const filter: Provider = {
  provide: ProblemFilter,
  useFactory: (host: HttpAdapterHost, config: ApplicationConfig, logger: Logger | undefined) => {
    const problems = new ProblemFilter({ host, logger })
    asLastFilter(problems, config)
    return Object.assign(problems, { onApplicationBootstrap: () => answerUnrouted(problems, host) })
  },
  inject: [HttpAdapterHost, ApplicationConfig, { token: PlatformLogger, optional: true }],
}

/** Makes the long-lived objects of a service injectable everywhere. */
export class PlatformModule {
  /** Objects that somebody else made, starts and closes: a service of `@platform/service`. */
  static forRoot(options: PlatformModuleOptions): DynamicModule {
    knownOptions(refuse, '', options, [...names, 'components', 'problemFilter'])
    const noObject = names.find((name) => options[name] !== undefined && (typeof options[name] !== 'object' || options[name] === null))
    if (noObject !== undefined) throw refuse(noObject, 'must be an object that a service made')
    const given: [Type | string, object | undefined][] = [
      ...names.map((name): [Type, object | undefined] => [tokens[name] as Type, options[name]]),
      ...Object.entries(options.components ?? {}).map(([name, object]): [string, object] => [componentToken(name), object]),
    ]
    const providers = given.flatMap(([provide, useValue]): Provider[] => (useValue === undefined ? [] : [{ provide, useValue }]))
    return moduleOf(providers, options.problemFilter)
  }

  /** Objects that a factory makes inside of Nest: awaited (`ready`) in the application's init, closed with it. */
  static forRootAsync<Name extends keyof PlatformObjects>(options: PlatformModuleAsyncOptions<Name>): DynamicModule {
    assertFactory(refuse, options, ['provides', 'problemFilter'])
    const { imports = [], inject = [], useFactory, provides, problemFilter } = options
    if (!Array.isArray(provides as unknown)) throw refuse('provides', `must be a list of ${names.join(', ')}`)
    const stranger = provides.find((name) => !names.includes(name))
    if (stranger !== undefined) throw refuse('provides', `names ${stranger}; known are ${names.join(', ')}`)
    const all = Symbol('objects of PlatformModule')
    const objects = provides.flatMap((name): Provider[] => [
      {
        provide: tokens[name] as Type,
        inject: [all],
        useFactory(made: Partial<PlatformObjects>) {
          if (made[name]) return made[name]
          throw refuse('useFactory', `must give ${name}, because provides says so`)
        },
      },
      ownedBy(tokens[name]),
    ])
    const module = moduleOf([{ provide: all, inject, useFactory: useFactory as () => unknown }, ...objects], problemFilter)
    return {
      ...module,
      imports: [...(module.imports ?? []), NestStartModule, ...imports],
      exports: provides.map((name) => tokens[name] as Type),
    }
  }
}

function moduleOf(providers: readonly Provider[], problemFilter = true): DynamicModule {
  return {
    module: PlatformModule,
    global: true,
    imports: [ConsumersModule],
    providers: [...providers, ...(problemFilter ? [filter] : [])],
    exports: providers.map((provider) => (provider as { provide: Type }).provide),
  }
}
