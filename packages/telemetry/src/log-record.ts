/** A record of OTLP in JSON: https://opentelemetry.io/docs/specs/otel/logs/data-model/ */
export interface LogRecord {
  readonly timeUnixNano: string
  readonly observedTimeUnixNano: string
  readonly severityNumber: number
  readonly severityText: string
  readonly body?: AnyValue
  readonly attributes: readonly KeyValue[]
  readonly traceId?: string
  readonly spanId?: string
  readonly flags?: number
}

export interface KeyValue {
  readonly key: string
  readonly value: AnyValue
}

export type AnyValue =
  | { readonly stringValue: string }
  | { readonly boolValue: boolean }
  | { readonly intValue: string }
  | { readonly doubleValue: number }
  | { readonly arrayValue: { readonly values: readonly AnyValue[] } }
  | { readonly kvlistValue: { readonly values: readonly KeyValue[] } }

type Line = Record<string, unknown>

/** The severities of OpenTelemetry for pino's levels. */
const severities: Readonly<Record<string, number>> = { trace: 1, debug: 5, info: 9, warn: 13, error: 17, fatal: 21 }
const levels: Readonly<Record<number, string>> = { 10: 'trace', 20: 'debug', 30: 'info', 40: 'warn', 50: 'error', 60: 'fatal' }

/** Members of a line that have places of their own in a record, or belong to the resource: of pino's JSON and of ECS. */
const placed: ReadonlySet<string> = new Set(
  'level time pid hostname msg trace_id span_id trace_flags @timestamp log.level message ecs.version service.name service.version process.pid host.hostname trace.id span.id'.split(
    ' ',
  ),
)

/** A line as a record. One that is no JSON, as people read it, is a body and nothing more. */
export function logRecord(line: string, observedTimeUnixNano: string): LogRecord {
  const fields = parsed(line)
  if (fields === undefined) {
    const body = { stringValue: line.trimEnd() }
    return { timeUnixNano: observedTimeUnixNano, observedTimeUnixNano, severityNumber: 0, severityText: '', body, attributes: [] }
  }
  const level = levelOf(fields)
  const message = fields['msg'] ?? fields['message']
  const traceId = fields['trace_id'] ?? fields['trace.id']
  const spanId = fields['span_id'] ?? fields['span.id']
  return {
    timeUnixNano: nanosOf(fields['time'] ?? fields['@timestamp']) ?? observedTimeUnixNano,
    observedTimeUnixNano,
    severityNumber: severities[level] ?? 0,
    severityText: level,
    ...(message === undefined ? {} : { body: anyValue(message) }),
    attributes: keyValues(Object.entries(fields).filter(([key]) => !placed.has(key))),
    ...(typeof traceId === 'string' && typeof spanId === 'string' ? { traceId, spanId, flags: flagsOf(fields['trace_flags']) } : {}),
  }
}

function levelOf(fields: Line): string {
  const ecs = fields['log.level']
  return typeof ecs === 'string' ? ecs : (levels[Number(fields['level'])] ?? '')
}

function parsed(line: string): Line | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Line) : undefined
  } catch {
    return undefined
  }
}

function nanosOf(time: unknown): string | undefined {
  const ms = typeof time === 'number' ? time : typeof time === 'string' ? Date.parse(time) : Number.NaN
  return Number.isFinite(ms) ? `${BigInt(Math.trunc(ms)) * 1_000_000n}` : undefined
}

function flagsOf(flags: unknown): number {
  return typeof flags === 'string' && /^[\da-f]{2}$/.test(flags) ? Number.parseInt(flags, 16) : 0
}

export function keyValues(entries: readonly (readonly [string, unknown])[]): KeyValue[] {
  return entries.filter(([, value]) => value !== null).map(([key, value]) => ({ key, value: anyValue(value) }))
}

function anyValue(value: unknown): AnyValue {
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  if (typeof value === 'number') return Number.isSafeInteger(value) ? { intValue: String(value) } : { doubleValue: value }
  if (Array.isArray(value)) return { arrayValue: { values: value.map(anyValue) } }
  return typeof value === 'object' && value !== null ? { kvlistValue: { values: keyValues(Object.entries(value)) } } : { stringValue: '' }
}
