import { durationOption, knownOptions, numberOption } from '@platform/kernel'
import type { RedactorLike } from './clean-span.ts'
import { refuse } from './errors.ts'
import { type OtlpOptions, type OtlpTarget, otlpTarget, pairsOf, text } from './otlp-target.ts'

export interface LoggerLike {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

export interface SamplingOptions {
  /** Share of the traces begun here that are exported, 0 to 1. Default 0.1. Traces begun elsewhere follow their caller's decision. */
  ratio?: number | undefined
  /** Whether requests that fail are exported though they were not sampled, with what they did in this process. Default true. */
  errors?: boolean | undefined
  /** Requests that take this long or longer are, too. Milliseconds, from 1. Default: none. */
  latencyThresholdMs?: number | undefined
}

export interface TelemetryOptions {
  /** `service.name`. Default: `OTEL_SERVICE_NAME`; one of the two is required. */
  service?: string | undefined
  /** `service.version`. Default: absent. */
  version?: string | undefined
  /** `service.instance.id`. Default: a random one. */
  instance?: string | undefined
  /** Which traces are exported. */
  sampling?: SamplingOptions | undefined
  /**
   * Where sampled spans go. Default: what `OTEL_EXPORTER_OTLP_ENDPOINT` and its like say, otherwise nowhere; spans then carry context and
   * exemplars only.
   */
  traces?: OtlpOptions | undefined
  /** Where the lines of `@platform/logger` go, beside their own destination. Default: as for traces. */
  logs?: OtlpOptions | undefined
  /** Where the `OTEL_*` variables are read. Default: `process.env`. */
  env?: Readonly<Record<string, string | undefined>> | undefined
  /** Names of W3C baggage that are taken from callers and handed on; no others are, either way. Default: none. */
  baggage?: readonly string[] | undefined
  /** Whether requests of undici and `fetch` are measured and carry the trace. Default true. */
  httpClient?: boolean | undefined
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
  /** Of the resource, beside those above. */
  readonly attributes: Readonly<Record<string, string>>
  readonly ratio: number
  readonly errors: boolean
  readonly latencyThresholdMs: number | undefined
  readonly traces: OtlpTarget | undefined
  readonly logs: OtlpTarget | undefined
  readonly baggage: readonly string[]
  readonly httpClient: boolean
  readonly redactor: RedactorLike | undefined
  readonly shutdownTimeoutMs: number
  readonly logger: LoggerLike | undefined
}

const known = [
  'service',
  'version',
  'instance',
  'sampling',
  'traces',
  'logs',
  'env',
  'baggage',
  'httpClient',
  'redactor',
  'shutdownTimeoutMs',
  'logger',
]

export function resolveOptions(options: TelemetryOptions): ResolvedTelemetryOptions {
  knownOptions(refuse, '', options, known)
  const { sampling = {}, env = process.env, baggage = [], httpClient = true } = options
  knownOptions(refuse, 'sampling', sampling, ['ratio', 'errors', 'latencyThresholdMs'])
  const { ratio = 0.1, errors = true, latencyThresholdMs } = sampling
  if (typeof errors !== 'boolean') throw refuse('sampling.errors', 'must be true or false')
  const service = named('service', options.service) ?? text(env['OTEL_SERVICE_NAME'])
  if (service === undefined) throw refuse('service', 'must be a non-empty string, or OTEL_SERVICE_NAME set')
  if (!Array.isArray(baggage) || baggage.some((name) => typeof name !== 'string' || name === '')) {
    throw refuse('baggage', 'must be a list of names')
  }
  if (typeof httpClient !== 'boolean') throw refuse('httpClient', 'must be true or false')
  return {
    service,
    version: named('version', options.version),
    instance: named('instance', options.instance),
    attributes: pairsOf('OTEL_RESOURCE_ATTRIBUTES', env['OTEL_RESOURCE_ATTRIBUTES']),
    ratio: numberOption(refuse, 'sampling.ratio', ratio, 0, 1),
    errors,
    latencyThresholdMs:
      latencyThresholdMs === undefined ? undefined : durationOption(refuse, 'sampling.latencyThresholdMs', latencyThresholdMs, 1),
    traces: otlpTarget('traces', options.traces, env),
    logs: otlpTarget('logs', options.logs, env),
    baggage: [...baggage],
    httpClient,
    redactor: redactor(options.redactor),
    shutdownTimeoutMs: durationOption(refuse, 'shutdownTimeoutMs', options.shutdownTimeoutMs ?? 3_000, 0),
    logger: options.logger,
  }
}

function named(option: string, value: string | undefined): string | undefined {
  if (value === undefined || (typeof value === 'string' && value !== '')) return value
  throw refuse(option, 'must be a non-empty string')
}

function redactor(given: RedactorLike | undefined): RedactorLike | undefined {
  if (given === undefined || (typeof given?.text === 'function' && typeof given.isSecretName === 'function')) return given
  throw refuse('redactor', 'must be an object with text and isSecretName')
}
