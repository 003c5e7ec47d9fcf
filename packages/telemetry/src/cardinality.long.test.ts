import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { startCollector } from './collector.fixture.ts'
import { startTelemetry } from './index.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

it('50,000 paths that nobody serves cost no series and no memory', async () => {
  const collector = await startCollector()
  const telemetry = startTelemetry({ service: 's', traces: { otlpUrl: collector.url }, env: {} })
  const server = createServer((request, response) => {
    const { method = '', url = '', headers } = request
    telemetry.inbound({ method, url, headers, response, route: () => undefined }, () => response.writeHead(404).end())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  async function ask(from: number, count: number): Promise<void> {
    let next = from
    const customer = async () => {
      while (next < from + count) await (await fetch(`${url}/wp-admin/${next++}/x.php?y=${next}`)).text()
    }
    await Promise.all(Array.from({ length: 8 }, customer))
    while (telemetry.stats().queued > 0) await new Promise((resolve) => setTimeout(resolve, 20))
    collector.spans.length = 0
    collector.requests.length = 0
    collector.headers.length = 0
  }
  const series = async () => (await telemetry.metrics({ headers: {} })).body.match(/^http_server_request_duration_seconds_count/gm)
  const heapBytes = () => {
    collectGarbage()
    return process.memoryUsage().heapUsed
  }

  await ask(0, 10_000)
  const before = heapBytes()
  await ask(10_000, 50_000)
  const grown = heapBytes() - before

  expect(await series()).toHaveLength(1)
  // A path kept takes some 200 bytes: 10 MB for all of them.
  expect(grown).toBeLessThan(5e6)
  await telemetry.close()
  server.closeAllConnections()
  server.close()
  collector.close()
}, 600_000)
