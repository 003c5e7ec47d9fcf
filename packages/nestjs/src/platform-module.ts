import type { DynamicModule, Provider } from '@nestjs/common'
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
import { answerUnrouted, asLastFilter } from './last-filter.ts'
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

export interface PlatformModuleOptions {
  /** Injectable as `PlatformConfig`. */
  config?: Config<unknown> | undefined
  /** Injectable as `PlatformLogger`; the problem filter writes to it. */
  logger?: Logger | undefined
  /** Injectable as `PlatformTelemetry`. */
  telemetry?: Telemetry | undefined
  /** Injectable as `PlatformDb`. */
  db?: DbPool | undefined
  /** Injectable as `PlatformCache`. */
  cache?: Cache | undefined
  /** Injectable as `PlatformBroker`. */
  broker?: Broker | undefined
  /** Injectable as `PlatformDiscovery`. */
  discovery?: Discovery | undefined
  /** Injectable as `PlatformHealth`. */
  health?: Health | undefined
  /** Anything else, injectable by `componentToken(name)`. */
  components?: Readonly<Record<string, object>> | undefined
  /** Errors become `application/problem+json`. Default true. */
  problemFilter?: boolean | undefined
}

const known = ['config', 'logger', 'telemetry', 'db', 'cache', 'broker', 'discovery', 'health', 'components', 'problemFilter']

/** Makes the long-lived objects of a service injectable everywhere. It starts and closes none of them: `@platform/service` does. */
export class PlatformModule {
  static forRoot(options: PlatformModuleOptions): DynamicModule {
    knownOptions((option, problem) => new NestjsError('ERR_NESTJS_OPTION', `PlatformModule: ${option} ${problem}`), '', options, known)
    const tokens = [
      [PlatformConfig, options.config],
      [PlatformLogger, options.logger],
      [PlatformTelemetry, options.telemetry],
      [PlatformDb, options.db],
      [PlatformCache, options.cache],
      [PlatformBroker, options.broker],
      [PlatformDiscovery, options.discovery],
      [PlatformHealth, options.health],
      ...Object.entries(options.components ?? {}).map(([name, object]) => [componentToken(name), object] as const),
    ] as const
    const given = tokens.filter(([, useValue]) => useValue !== undefined)
    const filter: Provider = {
      provide: ProblemFilter,
      useFactory: (host: HttpAdapterHost, config: ApplicationConfig) => {
        const problems = new ProblemFilter({ host, logger: options.logger })
        asLastFilter(problems, config)
        return Object.assign(problems, { onApplicationBootstrap: () => answerUnrouted(problems, host) })
      },
      inject: [HttpAdapterHost, ApplicationConfig],
    }
    return {
      module: PlatformModule,
      global: true,
      providers: [
        ...given.map(([provide, useValue]): Provider => ({ provide, useValue })),
        ...(options.problemFilter === false ? [] : [filter]),
      ],
      exports: given.map(([provide]) => provide),
    }
  }
}
