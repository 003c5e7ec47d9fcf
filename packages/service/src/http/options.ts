import { durationOption, functionOption, integerOption, knownOptions, safeLogger } from '@platform/kernel'
import { type CertificateFiles, certificateFilesOption } from '../certificate.ts'
import type { LoggerLike } from '../logger-like.ts'
import { refuse } from '../options.ts'
import type { InboundHook } from './inbound.ts'

export interface HttpServerOptions {
  /** 0 takes a free one. */
  port: number
  /** Default: all addresses, as Node does. */
  host?: string | undefined
  /** Outermost first. Default: none. */
  inbound?: readonly InboundHook[] | undefined
  /**
   * The listener stays open at least this long after the stop began: as long as the platform needs until the last balancer knows (its endpoint
   * lag), however little comes meanwhile. Default 5 000. Bounded by two thirds of the drain's time.
   */
  minDrainMs?: number | undefined
  /** After that it closes when no request has come for this long. Default 600. */
  quietWindowMs?: number | undefined
  /** Bound of the wait for such a quiet window, after `minDrainMs`. Default 3 000. */
  maxQuietWaitMs?: number | undefined
  /** Idle time of a connection; must exceed the balancer's, which is 60 s for AWS and for nginx upstreams. Default 72 000. */
  keepAliveTimeoutMs?: number | undefined
  /**
   * How busy this process is, from 0 to 1: every answer says it to the clients of discovery, which then ask others more often (`x-platform-load`).
   * Called for each request. Default: nothing is said.
   */
  load?: (() => number) | undefined
  /**
   * Names under which discovery knows this service. A request that says it is for another one (`x-platform-service`, as clients of discovery say)
   * is answered with 421 and not handled: this process has the address of one that died. Default: all requests are handled.
   */
  serves?: readonly string[] | undefined
  /**
   * For a server that was made without a certificate, as `https.createServer(handler)` makes it: its certificate is in these files. They are looked
   * at every 10 s, and a new certificate serves whoever connects from then on. Default: the server has what it was made with.
   */
  tls?: CertificateFiles | undefined
  logger?: LoggerLike | undefined
}

const known = [
  'port',
  'host',
  'inbound',
  'minDrainMs',
  'quietWindowMs',
  'maxQuietWaitMs',
  'keepAliveTimeoutMs',
  'load',
  'serves',
  'tls',
  'logger',
]

export interface ResolvedHttpServerOptions {
  readonly port: number
  readonly host: string | undefined
  readonly inbound: readonly InboundHook[]
  readonly minDrainMs: number
  readonly quietWindowMs: number
  readonly maxQuietWaitMs: number
  readonly keepAliveTimeoutMs: number
  readonly load: (() => number) | undefined
  readonly serves: ReadonlySet<string> | undefined
  readonly tls: CertificateFiles | undefined
  readonly logger: LoggerLike
}

export function resolveHttpServerOptions(options: HttpServerOptions): ResolvedHttpServerOptions {
  knownOptions(refuse, '', options, known)
  const { minDrainMs = 5_000, quietWindowMs = 600, maxQuietWaitMs = 3_000, keepAliveTimeoutMs = 72_000, inbound = [] } = options
  const { serves } = options
  if (
    serves !== undefined &&
    (!Array.isArray(serves) || serves.length === 0 || serves.some((name) => typeof name !== 'string' || name === ''))
  )
    throw refuse('serves', 'must be a list of names')
  if (!Array.isArray(inbound) || inbound.some((hook) => typeof hook !== 'function')) throw refuse('inbound', 'must be a list of functions')
  return {
    port: integerOption(refuse, 'port', options.port, 0, 65_535),
    host: options.host,
    inbound: [...inbound],
    minDrainMs: durationOption(refuse, 'minDrainMs', minDrainMs, 0),
    quietWindowMs: durationOption(refuse, 'quietWindowMs', quietWindowMs, 0),
    maxQuietWaitMs: durationOption(refuse, 'maxQuietWaitMs', maxQuietWaitMs, 0),
    keepAliveTimeoutMs: durationOption(refuse, 'keepAliveTimeoutMs', keepAliveTimeoutMs, 0),
    load: functionOption(refuse, 'load', options.load),
    serves: serves && new Set(serves),
    tls: certificateFilesOption('tls', options.tls),
    logger: safeLogger(options.logger),
  }
}
