import { trace } from '@opentelemetry/api'
import { afterEach, expect, it, vi } from 'vitest'
import { startCollector } from './collector.fixture.ts'
import { startTelemetry } from './index.ts'

afterEach(() => void vi.restoreAllMocks())

/** In milliseconds of the epoch. */
async function timesOf(work: () => void): Promise<{ start: number; end: number }> {
  const collector = await startCollector()
  const telemetry = startTelemetry({ service: 'orders', sampling: { ratio: 1 }, traces: { otlpUrl: collector.url } })
  work()
  await telemetry.close()
  collector.close()
  const span = collector.spans[0] as unknown as { startTimeUnixNano: string; endTimeUnixNano: string }
  return { start: Number(span.startTimeUnixNano) / 1e6, end: Number(span.endTimeUnixNano) / 1e6 }
}

it('a machine that slept, in which the monotonic clock stood still, tells the time of day all the same', async () => {
  const asleepMs = 8 * 3_600_000
  const { now } = Date
  vi.spyOn(Date, 'now').mockImplementation(() => now() + asleepMs)
  const { start, end } = await timesOf(() => trace.getTracer('t').startSpan('work').end())
  expect(Math.abs(start - Date.now())).toBeLessThan(60_000)
  expect(end).toBeGreaterThanOrEqual(start)
})

it.each<[string, (ms: number) => Date | number | [number, number]]>([
  ['a Date', (ms) => new Date(ms)],
  ['seconds and nanoseconds', (ms) => [Math.trunc(ms / 1_000), (ms % 1_000) * 1e6]],
])('a time from before the process, as %s, stays what it is', async (_, given) => {
  const since = Date.now() - 24 * 3_600_000
  const { start } = await timesOf(() =>
    trace
      .getTracer('t')
      .startSpan('waited in a queue', { startTime: given(since) })
      .end(),
  )
  expect(Math.abs(start - since)).toBeLessThan(1_000)
})

it('what performance.now() said is a time of this process', async () => {
  const { start } = await timesOf(() =>
    trace
      .getTracer('t')
      .startSpan('work', { startTime: performance.now() - 1_000 })
      .end(),
  )
  expect(Math.abs(start - (Date.now() - 1_000))).toBeLessThan(60_000)
})
