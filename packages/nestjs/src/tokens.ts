/* oxlint-disable typescript/no-unsafe-declaration-merging, no-unused-vars -- a class is the only thing that is both a type and a token for injection */
import type { Cache } from '@platform/cache'
import type { Config } from '@platform/config'
import type { DbPool } from '@platform/db-pool'
import type { Discovery } from '@platform/discovery'
import type { Health } from '@platform/health'
import type { Logger } from '@platform/logger'
import type { Broker } from '@platform/queue'
import type { Telemetry } from '@platform/telemetry'

/**
 * What a constructor names to get the object that was given to `PlatformModule.forRoot`. They are never instantiated: the object itself is
 * injected.
 */
export abstract class PlatformConfig<T = unknown> {}
export interface PlatformConfig<T = unknown> extends Config<T> {}

export abstract class PlatformLogger {}
export interface PlatformLogger extends Logger {}

export abstract class PlatformTelemetry {}
export interface PlatformTelemetry extends Telemetry {}

export abstract class PlatformDb {}
export interface PlatformDb extends DbPool {}

export abstract class PlatformCache {}
export interface PlatformCache extends Cache {}

export abstract class PlatformBroker {}
export interface PlatformBroker extends Broker {}

export abstract class PlatformDiscovery {}
export interface PlatformDiscovery extends Discovery {}

export abstract class PlatformHealth {}
export interface PlatformHealth extends Health {}

/** Token of an object given as `components: { name: object }`: `@Inject(componentToken('mailer'))`. */
export function componentToken(name: string): string {
  return `@platform/nestjs/component/${name}`
}
