import { type Attributes, TraceFlags } from '@opentelemetry/api'
import type { ReadableSpan } from '@opentelemetry/sdk-trace'
import { ATTR_SAMPLING_REASON } from './instrumentation.ts'
import type { SamplingReason } from './local-trace.ts'

/** Decides what must not leave; `createRedactor` of `@platform/logger` is one. */
export interface RedactorLike {
  /** The text without its secrets. */
  text(text: string): string
  /** Whether the value under this name must not show. */
  isSecretName(name: string): boolean
}

/** What a collector takes of one span: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#attribute-limits */
const maxAttributes = 128
const maxEvents = 128
const maxLinks = 128
const maxText = 4_096
const maxItems = 128
/** Values that a statement takes by position, as the conventions and instrumentations name them: `db.query.parameter.0`, `db.postgresql.values`. */
const positional = /^db\.(?:[\w-]{1,64}\.){0,3}(?:(?:parameters?|params)(?:\.[$:@?]?(?:p|param)?_?\d+)?|values|bindings|args)$/i
const longestStatement = 16_384
const identifier = /[\p{L}_][\p{L}\p{N}_]*/gu

export interface CleanSpan {
  readonly span: ReadableSpan
  /** About what it takes on the wire. */
  readonly bytes: number
}

/**
 * A span as any collector takes it: texts cut and well formed, numbers that JSON and a 64-bit integer hold, no holes, no secrets. One value that is
 * wrong would otherwise cost the whole batch. With a `reason` it says so, and counts as sampled. May throw for a span that cannot even be read.
 */
export function cleanSpan(span: ReadableSpan, redactor: RedactorLike | undefined, reason?: SamplingReason): CleanSpan {
  const cleaner = new Cleaner(redactor)
  const { kind, parentSpanContext, startTime, endTime, duration, ended, resource, instrumentationScope } = span
  const context = reason === undefined ? span.spanContext() : { ...span.spanContext(), traceFlags: TraceFlags.SAMPLED }
  const clean: ReadableSpan = {
    name: cleaner.text(span.name),
    kind,
    spanContext: () => context,
    ...(parentSpanContext === undefined ? {} : { parentSpanContext }),
    startTime,
    endTime,
    status: { code: span.status.code, ...(span.status.message === undefined ? {} : { message: cleaner.text(span.status.message) }) },
    attributes: cleaner.attributes(reason === undefined ? span.attributes : { [ATTR_SAMPLING_REASON]: reason, ...span.attributes }),
    events: span.events.slice(0, maxEvents).map((event) => ({
      ...event,
      name: cleaner.text(event.name),
      ...(event.attributes === undefined ? {} : { attributes: cleaner.attributes(event.attributes) }),
    })),
    links: span.links.slice(0, maxLinks).map((link) => ({
      ...link,
      ...(link.attributes === undefined ? {} : { attributes: cleaner.attributes(link.attributes) }),
    })),
    duration,
    ended,
    resource,
    instrumentationScope: cleanScope(instrumentationScope, redactor),
    droppedAttributesCount: span.droppedAttributesCount + Math.max(0, Object.keys(span.attributes).length - maxAttributes),
    droppedEventsCount: span.droppedEventsCount + Math.max(0, span.events.length - maxEvents),
    droppedLinksCount: span.droppedLinksCount + Math.max(0, span.links.length - maxLinks),
  }
  return { span: clean, bytes: cleaner.bytes }
}

/** Attributes of a resource, for which the same holds. */
export function cleanAttributes(attributes: Attributes, redactor: RedactorLike | undefined): Attributes {
  return new Cleaner(redactor).attributes(attributes)
}

type Scope = ReadableSpan['instrumentationScope']
/** Spans are sent by scope, and one scope stays one object. */
const scopes = new WeakMap<Scope, { readonly clean: Scope; readonly redactor: RedactorLike | undefined }>()

function cleanScope(scope: Scope, redactor: RedactorLike | undefined): Scope {
  const known = scopes.get(scope)
  if (known !== undefined && known.redactor === redactor) return known.clean
  const cleaner = new Cleaner(redactor)
  const { name, version, schemaUrl } = scope
  const clean = {
    name: cleaner.text(name),
    ...(version === undefined ? {} : { version: cleaner.text(version) }),
    ...(schemaUrl === undefined ? {} : { schemaUrl: cleaner.text(schemaUrl) }),
  }
  scopes.set(scope, { clean, redactor })
  return clean
}

class Cleaner {
  readonly #redactor: RedactorLike | undefined
  bytes = 512

  constructor(redactor: RedactorLike | undefined) {
    this.#redactor = redactor
  }

  text(value: unknown): string {
    const whole = textOf(value)
    // Looked through a little beyond the cut, where a secret may begin.
    const text = this.#redactor ? this.#redactor.text(whole.slice(0, maxText * 2)) : whole
    const cut = text.slice(0, maxText).toWellFormed()
    this.bytes += cut.length + 16
    return cut
  }

  attributes(attributes: Attributes): Attributes {
    const clean: Attributes = {}
    const takesSecret = this.#takesSecret(attributes)
    for (const key of Object.keys(attributes).slice(0, maxAttributes)) {
      if (key === '') continue
      const value = attributes[key]
      const isHidden = typeof value !== 'boolean' && (this.#redactor?.isSecretName(key) === true || (takesSecret && positional.test(key)))
      const cleaned = isHidden ? '[redacted]' : this.#value(value)
      if (cleaned !== undefined)
        Object.defineProperty(clean, this.text(key), { value: cleaned, enumerable: true, configurable: true, writable: true })
    }
    return clean
  }

  /** Whether a statement names a secret: what it takes by position has no name of its own. */
  #takesSecret(attributes: Attributes): boolean {
    const redactor = this.#redactor
    if (redactor === undefined) return false
    return ['db.query.text', 'db.statement'].some((key) => {
      const statement = attributes[key]
      if (typeof statement !== 'string') return false
      const names = statement.slice(0, longestStatement).match(identifier)
      return names?.some((name) => redactor.isSecretName(name)) === true
    })
  }

  #value(value: unknown): Attributes[string] {
    if (value === undefined || value === null) return undefined
    if (!Array.isArray(value)) return this.#scalar(value)
    const items = value.slice(0, maxItems).filter((item) => item !== undefined && item !== null)
    const scalars = items.map((item) => this.#scalar(item))
    // One kind in a list: a number that had to become a text makes all of them texts.
    const isMixed = new Set(scalars.map((item) => typeof item)).size > 1
    return (isMixed ? scalars.map(String) : scalars) as string[]
  }

  #scalar(value: unknown): string | number | boolean {
    this.bytes += 16
    if (typeof value === 'boolean') return value
    if (typeof value === 'number' && Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value))) return value
    return this.text(value)
  }
}

/** Of whatever was given in place of a text. */
function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  try {
    return typeof value === 'object' && value !== null ? `[${Object.prototype.toString.call(value).slice(8, -1)}]` : String(value)
  } catch {
    return '[unreadable]'
  }
}
