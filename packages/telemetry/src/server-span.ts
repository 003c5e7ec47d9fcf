import type { Attributes, Exception, HrTime, Link, Span, SpanContext, SpanStatus, TimeInput } from '@opentelemetry/api'
import { SpanKind, SpanStatusCode } from '@opentelemetry/api'
import type { Resource } from '@opentelemetry/resources'
import type { ReadableSpan, TimedEvent } from '@opentelemetry/sdk-trace'
import { ATTR_EXCEPTION_MESSAGE, ATTR_EXCEPTION_STACKTRACE, ATTR_EXCEPTION_TYPE } from '@opentelemetry/semantic-conventions'
import { SCOPE } from './instrumentation.ts'

/** More are not kept: a loop in a handler must not fill the memory. */
const maxEvents = 128
const maxAttributes = 128

const scope = { name: SCOPE }

/** The span of a request, which costs next to nothing until somebody asks for it. Handlers reach it as the active span. */
export class ServerSpan implements Span, ReadableSpan {
  name: string
  readonly kind: SpanKind = SpanKind.SERVER
  readonly parentSpanContext?: SpanContext
  readonly resource: Resource
  readonly instrumentationScope: { name: string } = scope
  readonly attributes: Attributes
  readonly events: TimedEvent[] = []
  readonly links: Link[] = []
  status: SpanStatus = { code: SpanStatusCode.UNSET }
  ended = false
  droppedAttributesCount = 0
  droppedEventsCount = 0
  droppedLinksCount = 0
  readonly #context: SpanContext
  readonly #onEnd: (span: ServerSpan) => void
  readonly #startedAt: number = performance.now()
  #endedAt = 0

  constructor(
    name: string,
    context: SpanContext,
    parent: SpanContext | undefined,
    attributes: Attributes,
    resource: Resource,
    onEnd: (span: ServerSpan) => void,
  ) {
    this.name = name
    this.#context = context
    if (parent !== undefined) this.parentSpanContext = parent
    this.attributes = attributes
    this.resource = resource
    this.#onEnd = onEnd
  }

  get startTime(): HrTime {
    return epochTime(this.#startedAt)
  }

  get endTime(): HrTime {
    return epochTime(this.#endedAt)
  }

  get duration(): HrTime {
    return hrTime(Math.max(0, this.#endedAt - this.#startedAt))
  }

  spanContext(): SpanContext {
    return this.#context
  }

  isRecording(): boolean {
    return !this.ended
  }

  setAttribute(key: string, value: Attributes[string]): this {
    if (this.ended) return this
    if (Object.keys(this.attributes).length < maxAttributes || Object.hasOwn(this.attributes, key)) this.attributes[key] = value
    else this.droppedAttributesCount++
    return this
  }

  setAttributes(attributes: Attributes): this {
    for (const key of Object.keys(attributes)) this.setAttribute(key, attributes[key])
    return this
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
    this.events.push({ name, attributes, time: at === undefined ? epochTime(performance.now()) : hrTimeOf(at) })
    return this
  }

  addLink(link: Link): this {
    if (this.ended) return this
    if (this.links.length < maxEvents) this.links.push(link)
    else this.droppedLinksCount++
    return this
  }

  addLinks(links: Link[]): this {
    for (const link of links) this.addLink(link)
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
    const { name, message, stack } = typeof exception === 'string' ? { name: 'Error', message: exception, stack: undefined } : exception
    const attributes: Attributes = { [ATTR_EXCEPTION_TYPE]: name ?? 'Error', [ATTR_EXCEPTION_MESSAGE]: message ?? '' }
    if (stack !== undefined) attributes[ATTR_EXCEPTION_STACKTRACE] = stack
    this.addEvent('exception', attributes, time)
  }

  end(): void {
    if (this.ended) return
    this.#endedAt = performance.now()
    this.ended = true
    this.#onEnd(this)
  }
}

/** Milliseconds since the process began, or since 1970, as OpenTelemetry writes a time. */
function epochTime(monotonicMs: number): HrTime {
  return hrTime(performance.timeOrigin + monotonicMs)
}

function hrTime(ms: number): HrTime {
  const seconds = Math.trunc(ms / 1_000)
  return [seconds, Math.round((ms - seconds * 1_000) * 1e6)]
}

function hrTimeOf(time: TimeInput): HrTime {
  if (Array.isArray(time)) return time
  return typeof time === 'number' ? (time < performance.timeOrigin ? epochTime(time) : hrTime(time)) : hrTime(time.getTime())
}
