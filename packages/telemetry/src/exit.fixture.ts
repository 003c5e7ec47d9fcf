/** Ends with spans that a black hole does not take: `node exit.fixture.ts <otlpUrl>` must end by itself. */
import { trace } from '@opentelemetry/api'
import { startTelemetry } from './index.ts'

const telemetry = startTelemetry({
  service: 'exit',
  sampling: { ratio: 1 },
  traces: { otlpUrl: process.argv[2] as string },
  shutdownTimeoutMs: 300,
})
for (let i = 0; i < 1_500; i++) trace.getTracer('t').startSpan('work').end()
await telemetry.close()
process.stdout.write(JSON.stringify(telemetry.stats()))
