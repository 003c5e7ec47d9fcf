import type { Health } from '@platform/health'
import { durationOption, functionOption, guarded, integerOption, knownOptions, safeLogger } from '@platform/kernel'
import { type CertificateFiles, certificateFilesOption } from './certificate.ts'
import type { Component } from './component.ts'
import { ServiceError } from './errors.ts'
import type { ServiceEvent } from './events.ts'
import type { DeadLettersLike } from './admin/dead-letters.ts'
import { levelsOf, type Node } from './graph.ts'
import { healthOf } from './health-of.ts'
import type { LoggerLike } from './logger-like.ts'
import { type ResolvedWatchdogOptions, resolveWatchdog, type WatchdogOptions } from './watchdog/options.ts'

interface SecretLike {
  reveal(): string
}
/** A function is asked again at each request. */
export type Credential = string | SecretLike | (() => string | SecretLike | Promise<string | SecretLike>)

export type MetricsPage = (request: { headers: Record<string, string | string[] | undefined> }) => Promise<{
  contentType: string
  body: string
}>

export interface AdminOptions {
  /** Address to listen on. Default 127.0.0.1. */
  host?: string | undefined
  /** 0 takes a free one; see `service.adminPort`. */
  port: number
  /**
   * Names that requests may ask for in `Host`, beside IP addresses, `localhost` and this machine's own name. Only the probes answer any other:
   * a page in a browser could point a name of its own at this listener. Default: none more.
   */
  hosts?: readonly string[] | undefined
  /** Served at /metrics. Default: the component that has `metrics()`; 404 without one. */
  metrics?: MetricsPage | undefined
  /** What `/dead-letters` shows and, with a token, replays or discards, by a name of your choice: `{ shipping: broker.deadLetters(orderPlaced, 'shipping') }`. */
  deadLetters?: Readonly<Record<string, DeadLettersLike>> | undefined
  /** Told before a profile is taken; what it refuses to record is not done. An audit log of `@platform/logger` is one. Default: the log alone. */
  audit?: AuditLike | undefined
  /** Bearer token for every path but the probes. Without one nothing can be changed, on loopback neither. Default: none. */
  token?: Credential | undefined
  /** Every path, the probes as well, is then asked by https. The files are looked at every 10 s. Default: http. */
  tls?: CertificateFiles | undefined
}

/** Keeps a record of what was done, or rejects. */
export interface AuditLike {
  record(event: {
    actor: { type: string; id: string }
    action: string
    target: { type: string; id: string }
    outcome: 'success'
    reason: string
  }): Promise<void>
}

export interface ServiceOptions {
  name: string
  components: Readonly<Record<string, Component>>
  /** Its state is driven, and it is closed, by the service. Default: one with the checks of `component(…, { check })`. */
  health?: Health | undefined
  /** Time between SIGTERM and SIGKILL that the platform grants, Default 30 000, at least 1 000. The stop is planned to end before it. */
  gracePeriodMs?: number | undefined
  /** Whole start. Default 60 000. */
  startTimeoutMs?: number | undefined
  /** Default: no admin listener. */
  admin?: AdminOptions | undefined
  logger?: LoggerLike | undefined
  /** Of what was deployed; stands in the event of the start. Default: none. */
  version?: string | undefined
  /** A thread that sees when the event loop stands still, and where. Default: none. */
  watchdog?: WatchdogOptions | undefined
  /** Told of every event after it was logged and counted. What it throws is logged. */
  onEvent?: ((event: ServiceEvent) => void) | undefined
}

/** A logger whose level can be changed, also for a time. */
export interface Leveled {
  level: string
  overrideLevel?(level: string, options: { module: string | undefined; forMs: number }): void
}

export interface ResolvedAdminOptions extends AdminOptions {
  readonly host: string
  readonly hosts: readonly string[]
}

export interface ResolvedServiceOptions {
  readonly name: string
  readonly levels: readonly (readonly Node[])[]
  readonly health: Health
  readonly gracePeriodMs: number
  readonly startTimeoutMs: number
  readonly admin: ResolvedAdminOptions | undefined
  /** The user's, guarded. */
  readonly logger: LoggerLike
  /** The user's own object, if its level can be changed. */
  readonly leveled: Leveled | undefined
  readonly version: string | undefined
  readonly watchdog: ResolvedWatchdogOptions | undefined
  readonly onEvent: ((event: ServiceEvent) => void) | undefined
}

const known = ['name', 'components', 'health', 'gracePeriodMs', 'startTimeoutMs', 'admin', 'logger', 'version', 'watchdog', 'onEvent']
const knownAdmin = ['host', 'port', 'hosts', 'metrics', 'deadLetters', 'audit', 'token', 'tls']

export const refuse = (option: string, problem: string): ServiceError => new ServiceError('ERR_SERVICE_OPTION', `${option} ${problem}`)

export function resolveOptions(options: ServiceOptions): ResolvedServiceOptions {
  knownOptions(refuse, '', options, known)
  const { name, components, admin, gracePeriodMs = 30_000, startTimeoutMs = 60_000 } = options
  if (typeof name !== 'string' || name === '') throw refuse('name', 'must be a non-empty string')
  if (typeof components !== 'object' || components === null) throw refuse('components', 'must be an object of components by name')
  for (const [key, component] of Object.entries(components)) {
    if (typeof component?.close !== 'function') throw refuse(`components.${key}`, 'must be a component: an object with close()')
  }
  const logger = safeLogger(options.logger)
  return {
    name,
    levels: levelsOf(components),
    health: healthOf(components, options.health, logger),
    gracePeriodMs: durationOption(refuse, 'gracePeriodMs', gracePeriodMs, 1_000),
    startTimeoutMs: durationOption(refuse, 'startTimeoutMs', startTimeoutMs, 1),
    admin: admin && resolveAdmin(admin, components),
    logger,
    leveled: hasLevel(options.logger) ? options.logger : undefined,
    version: options.version,
    watchdog: options.watchdog && resolveWatchdog(options.watchdog, refuse),
    onEvent: functionOption(refuse, 'onEvent', options.onEvent),
  }
}

function resolveAdmin(admin: AdminOptions, components: Readonly<Record<string, Component>>): ResolvedAdminOptions {
  knownOptions(refuse, 'admin', admin, knownAdmin)
  integerOption(refuse, 'admin.port', admin.port, 0, 65_535)
  functionOption(refuse, 'admin.metrics', admin.metrics)
  if (admin.audit !== undefined && typeof admin.audit?.record !== 'function') throw refuse('admin.audit', 'must be an object with record()')
  const { hosts = [] } = admin
  if (!Array.isArray(hosts) || hosts.some((name) => typeof name !== 'string')) throw refuse('admin.hosts', 'must be a list of names')
  const tls = certificateFilesOption('admin.tls', admin.tls)
  return { ...admin, host: admin.host ?? '127.0.0.1', hosts, tls, metrics: admin.metrics ?? metricsOf(components) }
}

function metricsOf(components: Readonly<Record<string, Component>>): MetricsPage | undefined {
  const pages = Object.entries(components).filter((entry): entry is [string, Component & { metrics: MetricsPage }] => {
    return typeof (entry[1] as { metrics?: unknown }).metrics === 'function'
  })
  if (pages.length > 1) {
    throw refuse('admin.metrics', `must say which page to serve: ${pages.map(([name]) => name).join(' and ')} have metrics()`)
  }
  const page = pages[0]?.[1]
  return page && ((request) => page.metrics(request))
}

function hasLevel(logger: unknown): logger is Leveled {
  return typeof guarded(() => (logger as { level?: unknown } | undefined)?.level) === 'string'
}
