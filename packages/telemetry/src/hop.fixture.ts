/** One service of a chain, over IPC: takes the headers of many requests, answers with those of the calls that it makes for each. */
import { startTelemetry } from './index.ts'

const [otlpUrl = ''] = process.argv.slice(2)
const telemetry = startTelemetry({ service: `hop-${process.pid}`, sampling: { ratio: 0.1 }, traces: { otlpUrl }, env: {} })

async function serve(message: { headers: Record<string, string>[] } | 'close'): Promise<void> {
  if (message === 'close') {
    await telemetry.close()
    process.send!(telemetry.stats())
    process.disconnect()
    return
  }
  const made = message.headers.map((headers) =>
    telemetry.inbound({ method: 'GET', url: '/', headers }, () => {
      const outgoing: Record<string, string> = {}
      telemetry.outbound(outgoing)
      return outgoing
    }),
  )
  // The next ones come when there is room, so that what is missing is missing for the sampler's sake only.
  while (telemetry.stats().queued > 1_000) await new Promise((resolve) => setTimeout(resolve, 5))
  process.send!(made)
}

process.on('message', (message) => void serve(message as Parameters<typeof serve>[0]))
process.send!('ready')
