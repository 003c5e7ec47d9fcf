import { durationOption, integerOption, knownOptions } from '@platform/kernel'
import { type LoggerLike, safeLogger } from '../logger-like.ts'
import { refuse } from '../options.ts'
import type { InboundHook } from './inbound.ts'

export interface HttpServerOptions {
  /** 0 takes a free one. */
  port: number
  /** Default: all addresses, as Node does. */
  host?: string | undefined
  /** Outermost first. Default: none. */
  inbound?: readonly InboundHook[] | undefined
  /** The listener closes when no request has come for this long after the stop began. Default 600. 0: at once. */
  quietWindowMs?: number | undefined
  /** Bound of the wait for the quiet window. Default 8 000. */
  maxQuietWaitMs?: number | undefined
  /** Idle time of a connection; must exceed the balancer's, which is 60 s for AWS and for nginx upstreams. Default 72 000. */
  keepAliveTimeoutMs?: number | undefined
  logger?: LoggerLike | undefined
}

const known = ['port', 'host', 'inbound', 'quietWindowMs', 'maxQuietWaitMs', 'keepAliveTimeoutMs', 'logger']

export interface ResolvedHttpServerOptions {
  readonly port: number
  readonly host: string | undefined
  readonly inbound: readonly InboundHook[]
  readonly quietWindowMs: number
  readonly maxQuietWaitMs: number
  readonly keepAliveTimeoutMs: number
  readonly logger: LoggerLike
}

export function resolveHttpServerOptions(options: HttpServerOptions): ResolvedHttpServerOptions {
  knownOptions(refuse, '', options, known)
  const { quietWindowMs = 600, maxQuietWaitMs = 8_000, keepAliveTimeoutMs = 72_000, inbound = [] } = options
  if (!Array.isArray(inbound) || inbound.some((hook) => typeof hook !== 'function')) throw refuse('inbound', 'must be a list of functions')
  return {
    port: integerOption(refuse, 'port', options.port, 0, 65_535),
    host: options.host,
    inbound: [...inbound],
    quietWindowMs: durationOption(refuse, 'quietWindowMs', quietWindowMs, 0),
    maxQuietWaitMs: durationOption(refuse, 'maxQuietWaitMs', maxQuietWaitMs, 0),
    keepAliveTimeoutMs: durationOption(refuse, 'keepAliveTimeoutMs', keepAliveTimeoutMs, 0),
    logger: safeLogger(options.logger),
  }
}
