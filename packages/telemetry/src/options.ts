import type { RedactorLike } from './clean-span.ts'
import { TelemetryError } from './errors.ts'

export interface LoggerLike {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

export interface TelemetryOptions {
  /** `service.name`. */
  service: string
  /** `service.version`. Default: absent. */
  version?: string | undefined
  /** `service.instance.id`. Default: a random one. */
  instance?: string | undefined
  /** Share of the traces begun here that are recorded, 0 to 1. Default 0.1. Traces begun elsewhere follow their caller's decision. */
  sampling?: { ratio: number } | undefined
  /**
   * Where sampled spans go, as OTLP over HTTP with JSON. A URL without a path gets `/v1/traces`. Default: nowhere; spans then carry context
   * and exemplars only.
   */
  traces?: { otlpUrl: string } | undefined
  /** Takes secrets out of names, attributes and events of spans before they leave, like `createRedactor` of `@platform/logger`. Default: none. */
  redactor?: RedactorLike | undefined
  /** Bound of close(). Default 3 000. */
  shutdownTimeoutMs?: number | undefined
  /** Told when spans are lost. Default: nobody. */
  logger?: LoggerLike | undefined
}

export interface ResolvedTelemetryOptions {
  readonly service: string
  readonly version: string | undefined
  readonly instance: string | undefined
  readonly ratio: number
  readonly otlpUrl: URL | undefined
  readonly redactor: RedactorLike | undefined
  readonly shutdownTimeoutMs: number
  readonly logger: LoggerLike | undefined
}

const known = ['service', 'version', 'instance', 'sampling', 'traces', 'redactor', 'shutdownTimeoutMs', 'logger']

function wrong(option: string, expected: string): never {
  throw new TelemetryError('ERR_TELEMETRY_OPTION', `startTelemetry: ${option} must be ${expected}`)
}

function noUnknown(where: string, value: object, names: readonly string[]): void {
  for (const key of Object.keys(value))
    if (!names.includes(key)) wrong(`${where}${key}`, `absent: it is no option (known: ${names.join(', ')})`)
}

function text(option: string, value: string | undefined): string | undefined {
  if (value !== undefined && (typeof value !== 'string' || value === '')) wrong(option, 'a non-empty string')
  return value
}

export function resolveOptions(options: TelemetryOptions): ResolvedTelemetryOptions {
  if (typeof options !== 'object' || options === null) wrong('options', 'an object')
  noUnknown('', options, known)
  const { sampling, traces, shutdownTimeoutMs = 3_000 } = options
  if (sampling) {
    noUnknown('sampling.', sampling, ['ratio'])
    if (typeof sampling.ratio !== 'number' || !(sampling.ratio >= 0 && sampling.ratio <= 1)) wrong('sampling.ratio', 'a number from 0 to 1')
  }
  if (typeof shutdownTimeoutMs !== 'number' || !(shutdownTimeoutMs >= 0 && shutdownTimeoutMs < 2 ** 31)) {
    wrong('shutdownTimeoutMs', 'a number of milliseconds of at least 0')
  }
  return {
    service: text('service', options.service) ?? wrong('service', 'a non-empty string'),
    version: text('version', options.version),
    instance: text('instance', options.instance),
    ratio: sampling?.ratio ?? 0.1,
    otlpUrl: traces && otlpUrl(traces),
    redactor: redactor(options.redactor),
    shutdownTimeoutMs,
    logger: options.logger,
  }
}

function redactor(given: RedactorLike | undefined): RedactorLike | undefined {
  if (given !== undefined && (typeof given?.text !== 'function' || typeof given.isSecretName !== 'function')) {
    wrong('redactor', 'an object with text and isSecretName')
  }
  return given
}

function otlpUrl(traces: { otlpUrl: string }): URL {
  noUnknown('traces.', traces, ['otlpUrl'])
  const url = URL.parse(traces.otlpUrl)
  if (!url || !['http:', 'https:'].includes(url.protocol)) wrong('traces.otlpUrl', 'an http or https URL')
  if (url.pathname === '/') url.pathname = '/v1/traces'
  return url
}
