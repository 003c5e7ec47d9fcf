export { PlatformModule } from './platform-module.ts'
export {
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
export {
  PlatformCacheModule,
  PlatformConfigModule,
  PlatformDbModule,
  PlatformDiscoveryModule,
  PlatformHealthModule,
  PlatformLoggerModule,
  PlatformQueueModule,
  PlatformTelemetryModule,
} from './object-module.ts'
export { Consume } from './consume.ts'
export { componentIndicator, indicatorCheck } from './indicators.ts'
export { nestContext } from './nest-context.ts'
export { nestLogger } from './nest-logger.ts'
export { ProblemFilter } from './problem-filter.ts'
export { ZodPipe } from './zod-pipe.ts'
export { NestjsError, nestjsErrorCodes } from './errors.ts'
export type { NestjsErrorCode } from './errors.ts'
export type { NestContext } from './nest-context.ts'
export type { LoggerLike } from './logger-like.ts'
export type { ObjectFactory, ObjectModule } from './object-module.ts'
export type { IndicatorResult } from './indicators.ts'
export type { PlatformModuleAsyncOptions, PlatformModuleOptions, PlatformObjects } from './platform-module.ts'
export type { Problem, ProblemError } from './problem.ts'
export type { SchemaLike } from './zod-pipe.ts'
