import { type Context, createContextKey, ROOT_CONTEXT, type Span, trace } from '@opentelemetry/api'

/** The key under which OpenTelemetry's API keeps the span of a context, which it tells nobody but contexts. */
const spanKey: symbol = keyOfSpan()

function keyOfSpan(): symbol {
  let found = createContextKey('unknown')
  const probe: Context = {
    getValue: () => undefined,
    setValue: (key) => ((found = key), probe),
    deleteValue: () => probe,
  }
  trace.deleteSpan(trace.setSpan(probe, trace.wrapSpanContext({ traceId: '', spanId: '', traceFlags: 0 })))
  return found
}

/** What `trace.setSpan(ROOT_CONTEXT, span)` gives, as each request needs one: without a map, and without copying one. */
export class SpanContextOnly implements Context {
  readonly #span: Span

  constructor(span: Span) {
    this.#span = span
  }

  getValue(key: symbol): unknown {
    return key === spanKey ? this.#span : undefined
  }

  setValue(key: symbol, value: unknown): Context {
    return trace.setSpan(ROOT_CONTEXT, this.#span).setValue(key, value)
  }

  deleteValue(key: symbol): Context {
    return key === spanKey ? ROOT_CONTEXT : this
  }
}
