import { context, metrics, propagation, trace, type TracerProvider } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { CompositePropagator, W3CTraceContextPropagator } from '@opentelemetry/core'
import type { MeterProvider } from '@opentelemetry/sdk-metrics'
import { AllowedBaggage } from './baggage.ts'
import { TelemetryError } from './errors.ts'

/** Takes all four globals of OpenTelemetry or none; returns what gives them back, each only while it is still ours. */
export function takeGlobals(tracers: TracerProvider, meters: MeterProvider, baggage: readonly string[]): () => void {
  const manager = new AsyncLocalStorageContextManager().enable()
  const propagator = new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new AllowedBaggage(baggage)] })
  const globals: { take(): boolean; giveBack(): void }[] = [
    {
      take: () => trace.setGlobalTracerProvider(tracers),
      giveBack: () => (trace.getTracerProvider() as { getDelegate?(): unknown }).getDelegate?.() === tracers && trace.disable(),
    },
    {
      take: () => metrics.setGlobalMeterProvider(meters),
      giveBack: () => metrics.getMeterProvider() === meters && metrics.disable(),
    },
    { take: () => context.setGlobalContextManager(manager), giveBack: () => context.disable() },
    { take: () => propagation.setGlobalPropagator(propagator), giveBack: () => propagation.disable() },
  ]
  const taken: (typeof globals)[number][] = []
  for (const each of globals) {
    if (each.take()) {
      taken.push(each)
      continue
    }
    for (const { giveBack } of taken.toReversed()) giveBack()
    manager.disable()
    throw new TelemetryError(
      'ERR_TELEMETRY_ALREADY_STARTED',
      'an OpenTelemetry SDK, or a part of one, is registered in this process already; register none, or leave this one out',
    )
  }
  return () => {
    for (const { giveBack } of taken.toReversed()) giveBack()
  }
}
