import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { startCollector } from './collector.fixture.ts'
import type { TelemetryStats } from './index.ts'

const hops = 4
const batches = 200
const inBatch = 500
const children: ChildProcess[] = []

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

async function answer<T>(child: ChildProcess, message?: object | string): Promise<T> {
  const answered = once(child, 'message')
  if (message !== undefined) child.send(message)
  const [told] = (await answered) as [T]
  return told
}

it('of 100,000 traces through four processes a tenth is there, and each of it whole', async () => {
  const collector = await startCollector()
  for (let hop = 0; hop < hops; hop++) {
    const child = fork(join(import.meta.dirname, 'hop.fixture.ts'), [collector.url], { execArgv: ['--conditions=@platform/source'] })
    children.push(child)
    expect(await answer(child)).toBe('ready')
  }
  for (let batch = 0; batch < batches; batch++) {
    let headers: Record<string, string>[] = Array.from({ length: inBatch }, () => ({}))
    for (const child of children) headers = await answer(child, { headers })
  }
  const stats = await Promise.all(children.map((child) => answer<TelemetryStats>(child, 'close')))
  collector.close()
  expect(stats.map(({ dropped, queued }) => dropped + queued)).toEqual([0, 0, 0, 0])
  expect(stats.map(({ traces }) => traces.sampled + traces.unsampled)).toEqual([batches * inBatch, 0, 0, 0])
  const spansOf = new Map<string, Set<unknown>>()
  for (const { traceId, service } of collector.spans) spansOf.set(traceId, (spansOf.get(traceId) ?? new Set()).add(service))
  expect(new Set([...spansOf.values()].map(({ size }) => size))).toEqual(new Set([hops]))
  expect(collector.spans).toHaveLength(spansOf.size * hops)
  // Four standard deviations.
  expect(Math.abs(spansOf.size / (batches * inBatch) - 0.1)).toBeLessThan(0.004)
}, 300_000)
