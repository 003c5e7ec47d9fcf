export { type ContractCase, contractCases, type ContractResult, runContract } from './contract.ts'
export { createGateway, type Gateway } from './gateway.ts'
export { GatewayError, type Fault, type GatewayErrorCode, gatewayErrorCodes } from './errors.ts'
export type {
  Algorithm,
  Cors,
  Filter,
  GatewayFile,
  HeaderModifier,
  IdentityProvider,
  Listener,
  Match,
  Method,
  RateLimit,
  Redirect,
  Route,
} from './gateway-file.ts'
export type { LoggerLike } from './logger-like.ts'
export type { GatewayOptions, RedisLike } from './options.ts'
export { readGatewayFile } from './read-file.ts'
export { gatewayJsonSchema } from './schema.ts'
