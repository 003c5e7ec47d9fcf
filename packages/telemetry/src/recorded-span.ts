import type { Attributes, Exception, HrTime, Link, Span, SpanContext, SpanKind, SpanStatus, TimeInput } from '@opentelemetry/api'
import { SpanStatusCode } from '@opentelemetry/api'
import type { Resource } from '@opentelemetry/resources'
import type { ReadableSpan, TimedEvent } from '@opentelemetry/sdk-trace'
import { ATTR_EXCEPTION_MESSAGE, ATTR_EXCEPTION_STACKTRACE, ATTR_EXCEPTION_TYPE } from '@opentelemetry/semantic-conventions'

/** More are not kept: a loop in a handler must not fill the memory. */
const maxEvents = 128
const maxLinks = 128
const maxAttributes = 128

/** Where spans go. */
export interface SpanSink {
  /** Whether a span that ends now leaves the process. Asked of a local root, it is the decision for all below it. */
  keeps(span: RecordedSpan): boolean
  ended(span: RecordedSpan): void
}

/** What whoever begins a span says of it. */
export interface SpanStart {
  readonly name: string
  readonly kind: SpanKind
  readonly scope: ReadableSpan['instrumentationScope']
  readonly startTime?: TimeInput | undefined
}

/** Where it belongs. */
export interface SpanPlace {
  readonly context: SpanContext
  readonly parent: SpanContext | undefined
  readonly resource: Resource
  readonly sink: SpanSink
}

/** A span that costs next to nothing until somebody writes on it or asks for it. What it is given may be of any kind: it is read when it leaves. */
export class RecordedSpan implements Span, ReadableSpan {
  name: string
  readonly kind: SpanKind
  readonly parentSpanContext?: SpanContext
  readonly resource: Resource
  readonly instrumentationScope: ReadableSpan['instrumentationScope']
  attributes: Attributes = {}
  readonly events: TimedEvent[] = []
  readonly links: Link[] = []
  status: SpanStatus = { code: SpanStatusCode.UNSET }
  ended = false
  droppedAttributesCount = 0
  droppedEventsCount = 0
  droppedLinksCount = 0
  readonly sink: SpanSink
  readonly #context: SpanContext
  readonly #startedAt: number
  #attributeCount = 0
  #endedAt = 0

  constructor({ name, kind, scope, startTime }: SpanStart, { context, parent, resource, sink }: SpanPlace) {
    this.name = name
    this.kind = kind
    this.#context = context
    if (parent !== undefined) this.parentSpanContext = parent
    this.instrumentationScope = scope
    this.resource = resource
    this.sink = sink
    this.#startedAt = monotonicMs(startTime)
  }

  get startTime(): HrTime {
    return epochTime(this.#startedAt)
  }

  get endTime(): HrTime {
    return epochTime(this.#endedAt)
  }

  get duration(): HrTime {
    return hrTime(this.durationMs)
  }

  /** Until now, where it has not ended. */
  get durationMs(): number {
    return Math.max(0, (this.ended ? this.#endedAt : performance.now()) - this.#startedAt)
  }

  spanContext(): SpanContext {
    return this.#context
  }

  isRecording(): boolean {
    return !this.ended
  }

  setAttribute(key: string, value: Attributes[string]): this {
    if (this.ended) return this
    if (!Object.hasOwn(this.attributes, key) && ++this.#attributeCount > maxAttributes) this.droppedAttributesCount++
    else this.attributes[key] = value
    return this
  }

  setAttributes(attributes: Attributes): this {
    try {
      for (const key of Object.keys(attributes)) this.setAttribute(key, attributes[key])
    } catch {
      // What cannot be read costs itself, not whoever wrote it.
    }
    return this
  }

  /** Facts of whoever made the span. They stand before what others wrote, so that a limit does not cost them. */
  describe(facts: Attributes): void {
    this.attributes = { ...facts, ...this.attributes, ...facts }
  }

  addEvent(name: string, attributesOrTime?: Attributes | TimeInput, time?: TimeInput): this {
    if (this.ended) return this
    if (this.events.length >= maxEvents) {
      this.droppedEventsCount++
      return this
    }
    const isTime = typeof attributesOrTime === 'number' || Array.isArray(attributesOrTime) || attributesOrTime instanceof Date
    const at = isTime ? (attributesOrTime as TimeInput) : time
    const attributes = isTime || attributesOrTime === undefined ? {} : (attributesOrTime as Attributes)
    this.events.push({ name, attributes, time: epochTime(monotonicMs(at)) })
    return this
  }

  addLink(link: Link): this {
    if (this.ended) return this
    if (this.links.length < maxLinks) this.links.push(link)
    else this.droppedLinksCount++
    return this
  }

  addLinks(links: Link[]): this {
    if (Array.isArray(links)) for (const link of links) this.addLink(link)
    return this
  }

  setStatus(status: SpanStatus): this {
    if (!this.ended) this.status = status
    return this
  }

  updateName(name: string): this {
    if (!this.ended) this.name = name
    return this
  }

  recordException(exception: Exception, time?: TimeInput): void {
    this.addEvent('exception', exceptionAttributes(exception), time)
  }

  end(endTime?: TimeInput): void {
    if (this.ended) return
    this.#endedAt = Math.max(this.#startedAt, monotonicMs(endTime))
    this.ended = true
    this.sink.ended(this)
  }
}

/** Of whatever was thrown. */
function exceptionAttributes(thrown: unknown): Attributes {
  if (typeof thrown !== 'object' || thrown === null) return { [ATTR_EXCEPTION_TYPE]: 'Error', [ATTR_EXCEPTION_MESSAGE]: thrown }
  try {
    const { name = 'Error', message = '', stack } = thrown as { name?: unknown; message?: unknown; stack?: unknown }
    return { [ATTR_EXCEPTION_TYPE]: name, [ATTR_EXCEPTION_MESSAGE]: message, [ATTR_EXCEPTION_STACKTRACE]: stack }
  } catch {
    return { [ATTR_EXCEPTION_TYPE]: 'Error' }
  }
}

/**
 * Of any way in which OpenTelemetry's API takes a time, in milliseconds since the process began; now without one, or where it is none. A number
 * below the time at which the process began is such milliseconds already.
 */
function monotonicMs(time: TimeInput | undefined): number {
  const now = performance.now()
  if (typeof time === 'number') return Number.isFinite(time) ? (time < performance.timeOrigin ? time : time - beginning(now)) : now
  const ms = time instanceof Date ? time.getTime() : Array.isArray(time) ? time[0] * 1_000 + time[1] / 1e6 : Number.NaN
  return Number.isFinite(ms) ? ms - beginning(now) : now
}

/** Milliseconds since the process began, as OpenTelemetry writes a time. */
function epochTime(ms: number): HrTime {
  return hrTime(beginning(performance.now()) + ms)
}

/** The monotonic clock is exact and stands still while the machine sleeps: beyond this it has lost the time of day. */
const maxDriftMs = 50
let began: number = performance.timeOrigin

/** When the process began, by the clock that tells the time of day now. */
function beginning(now: number): number {
  const byWallClock = Date.now() - now
  if (Math.abs(byWallClock - began) > maxDriftMs) began = byWallClock
  return began
}

function hrTime(ms: number): HrTime {
  const seconds = Math.trunc(ms / 1_000)
  return [seconds, Math.round((ms - seconds * 1_000) * 1e6)]
}
