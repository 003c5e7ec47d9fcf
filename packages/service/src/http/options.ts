import { durationOption, type LoggerLike, noUnknownOption, portOption, wrongOption } from '../options.ts'
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
  readonly logger: LoggerLike | undefined
}

export function resolveHttpServerOptions(options: HttpServerOptions): ResolvedHttpServerOptions {
  if (typeof options !== 'object' || options === null) wrongOption('options', 'an object')
  noUnknownOption('', options, known)
  const inbound = [...(options.inbound ?? [])]
  if (inbound.some((hook) => typeof hook !== 'function')) wrongOption('inbound', 'an array of functions')
  return {
    port: portOption('port', options.port),
    host: options.host,
    inbound,
    quietWindowMs: durationOption('quietWindowMs', options.quietWindowMs, 600, 0),
    maxQuietWaitMs: durationOption('maxQuietWaitMs', options.maxQuietWaitMs, 8_000, 0),
    keepAliveTimeoutMs: durationOption('keepAliveTimeoutMs', options.keepAliveTimeoutMs, 72_000, 0),
    logger: options.logger,
  }
}
