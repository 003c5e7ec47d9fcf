import { metrics } from '@opentelemetry/api'
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { expect, it, onTestFinished } from 'vitest'
import { z } from 'zod'
import { defineConfig, type Source } from './index.ts'

it('counts reloads by outcome and reports the revision, from the moment an SDK is there', async () => {
  const state = { tree: { size: 1 } as Record<string, unknown>, isDown: false }
  const source: Source = {
    name: 'hand',
    remote: true,
    read: () => (state.isDown ? Promise.reject(new Error('down')) : Promise.resolve(state.tree)),
  }
  const definition = defineConfig({ schema: z.object({ size: z.int().positive(), port: z.int().default(1).meta({ reload: 'restart' }) }) })
  const config = await definition.load({ sources: [source] })

  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })
  const provider = new MeterProvider({ readers: [reader] })
  metrics.setGlobalMeterProvider(provider)
  onTestFinished(async () => {
    metrics.disable()
    await provider.shutdown()
  })
  const points = async () => {
    exporter.reset()
    await provider.forceFlush()
    const all = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics))
    return Object.fromEntries(
      all.flatMap(({ descriptor, dataPoints }) =>
        dataPoints.map(({ attributes, value }) => [
          [descriptor.name, ...Object.entries(attributes).map(([key, text]) => `${key}=${String(text)}`)].join(' '),
          value,
        ]),
      ),
    )
  }
  await config.ready()
  expect(await points()).toEqual({ 'platform.config.revision': 1 })

  await config.reload()
  state.tree = { size: 2 }
  await config.reload()
  state.tree = { size: 2, port: 2 }
  await config.reload()
  state.tree = { size: 0 }
  await config.reload()
  await config.reload()
  state.isDown = true
  await config.reload()
  state.isDown = false
  state.tree = { size: 3 }
  const unsubscribe = config.live((current) => current.size).onChange(() => Promise.reject(new Error('not ready')))
  await config.reload()
  unsubscribe()
  const outcome = 'platform.config.reloads platform.config.outcome='
  expect(await points()).toEqual({
    'platform.config.revision': 2,
    [`${outcome}unchanged`]: 1,
    [`${outcome}applied`]: 1,
    [`${outcome}restart`]: 1,
    [`${outcome}invalid`]: 1,
    [`${outcome}unreachable`]: 1,
    [`${outcome}vetoed`]: 1,
  })
  await config.close()
})
