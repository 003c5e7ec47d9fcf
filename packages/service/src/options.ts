import { createHealth, type Health } from '@platform/health'
import type { Component } from './component.ts'
import { ServiceError } from './errors.ts'
import { levelsOf, type Node } from './graph.ts'

/** pino's call signature. With a `level` property the admin listener can change it. */
export interface LoggerLike {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

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
  /** Default 127.0.0.1. */
  host?: string | undefined
  /** 0 takes a free one; see `service.adminPort`. */
  port: number
  /** Served at /metrics. Default: 404. */
  metrics?: MetricsPage | undefined
  /** Bearer token for every path but the probes. Default: none. */
  token?: Credential | undefined
}

export interface ServiceOptions {
  name: string
  components: Readonly<Record<string, Component | (Component & { needs?: readonly string[] })>>
  /** Its state is driven, and it is closed, by the service. Default: one without checks. */
  health?: Health | undefined
  /** Time between SIGTERM and SIGKILL that the platform grants, Default 30 000, at least 1 000. The stop is planned to end before it. */
  gracePeriodMs?: number | undefined
  /** Whole start. Default 60 000. */
  startTimeoutMs?: number | undefined
  /** Default: no admin listener. */
  admin?: AdminOptions | undefined
  logger?: LoggerLike | undefined
}

export interface ResolvedServiceOptions {
  readonly name: string
  readonly levels: readonly (readonly Node[])[]
  readonly health: Health
  readonly gracePeriodMs: number
  readonly startTimeoutMs: number
  readonly admin: (AdminOptions & { host: string }) | undefined
  readonly logger: LoggerLike
}

const known = ['name', 'components', 'health', 'gracePeriodMs', 'startTimeoutMs', 'admin', 'logger']
const knownAdmin = ['host', 'port', 'metrics', 'token']
const silent: LoggerLike = { debug() {}, info() {}, warn() {}, error() {} }

export function wrongOption(option: string, expected: string): never {
  throw new ServiceError('ERR_SERVICE_OPTION', `${option} must be ${expected}`)
}

export function durationOption(option: string, value: number | undefined, fallback: number, lowest: number): number {
  if (value === undefined) return fallback
  if (typeof value !== 'number' || !(value >= lowest && value < 2 ** 31))
    wrongOption(option, `a number of milliseconds of at least ${lowest}`)
  return value
}

export function portOption(option: string, value: number): number {
  if (!Number.isInteger(value) || value < 0 || value > 65_535) wrongOption(option, 'an integer from 0 to 65535')
  return value
}

export function noUnknownOption(where: string, value: object, names: readonly string[]): void {
  for (const key of Object.keys(value))
    if (!names.includes(key)) wrongOption(`${where}${key}`, `absent: it is no option (known: ${names.join(', ')})`)
}

export function resolveOptions(options: ServiceOptions): ResolvedServiceOptions {
  if (typeof options !== 'object' || options === null) wrongOption('options', 'an object')
  noUnknownOption('', options, known)
  if (typeof options.name !== 'string' || options.name === '') wrongOption('name', 'a non-empty string')
  if (typeof options.components !== 'object' || options.components === null) wrongOption('components', 'an object of components by name')
  for (const [name, component] of Object.entries(options.components)) {
    if (typeof component?.close !== 'function') wrongOption(`components.${name}`, 'a component: an object with close()')
  }
  const { admin } = options
  if (admin) {
    noUnknownOption('admin.', admin, knownAdmin)
    portOption('admin.port', admin.port)
  }
  return {
    name: options.name,
    levels: levelsOf(options.components),
    health: options.health ?? createHealth({ checks: {} }),
    gracePeriodMs: durationOption('gracePeriodMs', options.gracePeriodMs, 30_000, 1_000),
    startTimeoutMs: durationOption('startTimeoutMs', options.startTimeoutMs, 60_000, 1),
    admin: admin && { ...admin, host: admin.host ?? '127.0.0.1' },
    logger: options.logger ?? silent,
  }
}
