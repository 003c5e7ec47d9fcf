import { validateHeaderName, validateHeaderValue } from 'node:http'
import { knownOptions } from '@platform/kernel'
import { refuse } from './errors.ts'

export interface OtlpOptions {
  /** OTLP over HTTP with JSON. A URL without a path gets `/v1/traces` or `/v1/logs`. */
  otlpUrl: string
  /** Sent with every request, for collectors that ask who sends. Default: none. */
  headers?: Readonly<Record<string, string>> | undefined
  /** Default `none`. */
  compression?: 'gzip' | 'none' | undefined
}

export type Signal = 'traces' | 'logs'
export type Environment = Readonly<Record<string, string | undefined>>

/** Where one signal goes. */
export interface OtlpTarget {
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly compression: 'gzip' | 'none'
}

/** What the options say, otherwise what the environment says: https://opentelemetry.io/docs/specs/otel/protocol/exporter/ */
export function otlpTarget(signal: Signal, options: OtlpOptions | undefined, env: Environment): OtlpTarget | undefined {
  if (options === undefined) return targetOfEnvironment(signal, env)
  knownOptions(refuse, signal, options, ['otlpUrl', 'headers', 'compression'])
  return {
    url: urlOf(`${signal}.otlpUrl`, options.otlpUrl, `/v1/${signal}`),
    headers: checkedHeaders(`${signal}.headers`, options.headers ?? {}),
    compression: compressionOf(`${signal}.compression`, options.compression),
  }
}

function targetOfEnvironment(signal: Signal, env: Environment): OtlpTarget | undefined {
  const name = signal.toUpperCase()
  const own = (what: string) => text(env[`OTEL_EXPORTER_OTLP_${name}_${what}`])
  const shared = (what: string) => text(env[`OTEL_EXPORTER_OTLP_${what}`])
  const endpoint = own('ENDPOINT') ?? shared('ENDPOINT')
  if (endpoint === undefined || env['OTEL_SDK_DISABLED'] === 'true' || env[`OTEL_${name}_EXPORTER`] === 'none') return undefined
  if ((own('PROTOCOL') ?? shared('PROTOCOL')) === 'grpc') {
    throw refuse('OTEL_EXPORTER_OTLP_PROTOCOL', 'must be an http one: spans and logs leave as OTLP over HTTP, usually to port 4318')
  }
  const variable = `OTEL_EXPORTER_OTLP_${own('ENDPOINT') === undefined ? '' : `${name}_`}ENDPOINT`
  // An address for all signals is the one that their paths are added to; one for this signal is used as it is.
  const url = urlOf(variable, endpoint)
  if (own('ENDPOINT') === undefined) url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/${signal}`
  const headers = {
    ...pairsOf('OTEL_EXPORTER_OTLP_HEADERS', shared('HEADERS')),
    ...pairsOf(`OTEL_EXPORTER_OTLP_${name}_HEADERS`, own('HEADERS')),
  }
  return {
    url,
    headers: checkedHeaders('OTEL_EXPORTER_OTLP_HEADERS', headers),
    compression: compressionOf('OTEL_EXPORTER_OTLP_COMPRESSION', own('COMPRESSION') ?? shared('COMPRESSION')),
  }
}

/** `key=value,key=value`, percent-encoded, as in `OTEL_RESOURCE_ATTRIBUTES`. */
export function pairsOf(variable: string, list: string | undefined): Record<string, string> {
  const pairs = (list ?? '').split(',').filter((pair) => pair.trim() !== '')
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=')
      const [key, value] = [pair.slice(0, Math.max(0, at)).trim(), pair.slice(at + 1).trim()]
      if (key === '') throw refuse(variable, 'must be a list like key=value,key=value')
      try {
        return [decodeURIComponent(key), decodeURIComponent(value)]
      } catch {
        throw refuse(variable, `holds a value of ${key} that is not percent-encoded`)
      }
    }),
  )
}

export function text(value: string | undefined): string | undefined {
  return value === undefined || value.trim() === '' ? undefined : value.trim()
}

function urlOf(option: string, given: string, path?: string): URL {
  const url = typeof given === 'string' ? URL.parse(given) : null
  if (!url || !['http:', 'https:'].includes(url.protocol)) throw refuse(option, 'must be an http or https URL')
  if (path !== undefined && url.pathname === '/') url.pathname = path
  return url
}

function checkedHeaders(option: string, headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  if (typeof headers !== 'object' || headers === null) throw refuse(option, 'must be an object of texts')
  for (const [name, value] of Object.entries(headers)) {
    try {
      validateHeaderName(name)
      validateHeaderValue(name, value)
    } catch {
      // Without the cause, whose message may show the value.
      throw refuse(option, 'must be headers that HTTP can carry')
    }
  }
  return { ...headers }
}

function compressionOf(option: string, given: string | undefined): 'gzip' | 'none' {
  if (given === undefined || given === 'none') return 'none'
  if (given !== 'gzip') throw refuse(option, 'must be gzip or none')
  return given
}
