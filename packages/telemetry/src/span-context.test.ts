import { createContextKey, ROOT_CONTEXT, trace } from '@opentelemetry/api'
import { expect, it } from 'vitest'
import { SpanContextOnly } from './span-context.ts'

it('the context of a request that came alone is what the API gives for its span, whatever is done with it', () => {
  const [span, child] = ['1', '2'].map((digit) =>
    trace.wrapSpanContext({ traceId: digit.repeat(32), spanId: digit.repeat(16), traceFlags: 1 }),
  ) as [ReturnType<typeof trace.wrapSpanContext>, ReturnType<typeof trace.wrapSpanContext>]
  const key = createContextKey('mine')
  for (const inside of [trace.setSpan(ROOT_CONTEXT, span), new SpanContextOnly(span)]) {
    const more = inside.setValue(key, 'value')
    expect(trace.getSpan(inside)).toBe(span)
    expect(inside.getValue(key)).toBeUndefined()
    expect([more.getValue(key), trace.getSpan(more)]).toEqual(['value', span])
    expect(trace.getSpan(trace.setSpan(inside, child))).toBe(child)
    expect(trace.getSpan(trace.deleteSpan(inside))).toBeUndefined()
    expect(trace.getSpan(inside.deleteValue(key))).toBe(span)
  }
})
