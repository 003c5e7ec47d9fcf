/**
 * One service of a chain, over HTTP: asks the next one for the same path and answers as it did, except for `/recovered`, which it answers well.
 * The last one fails `/failing` and `/recovered`, and takes 100 ms for `/slow`. No trace is sampled.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { startTelemetry } from './index.ts'

const [service = '', otlpUrl = '', threshold = '', next] = process.argv.slice(2)
const sampling = { ratio: 0, ...(threshold === '' ? {} : { latencyThresholdMs: Number(threshold) }) }
const telemetry = startTelemetry({ service, sampling, traces: { otlpUrl }, env: {} })

async function statusOf(path: string): Promise<number> {
  if (next !== undefined) {
    const { status } = await fetch(next + path)
    return path === '/recovered' ? 200 : status
  }
  if (path === '/slow') await new Promise((resolve) => setTimeout(resolve, 100))
  return path === '/failing' || path === '/recovered' ? 500 : 200
}

const server = createServer((request, response) => {
  const { method = '', url = '', headers } = request
  void telemetry.inbound({ method, url, headers, response, route: () => url }, async () => {
    response.writeHead(await statusOf(url)).end()
  })
}).listen(0, '127.0.0.1', () => process.send!(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))

async function stop(): Promise<void> {
  await telemetry.close()
  process.send!(telemetry.stats())
  process.disconnect()
  server.close()
  server.closeAllConnections()
}

process.on('message', () => void stop())
