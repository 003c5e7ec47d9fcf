/** One variant in a process of its own: `node discovery.ts <sick>/<balancer>` prints what it measured as JSON. */
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createDiscovery } from '@platform/discovery'
import { staticInstances } from '@platform/discovery/static'
import { BalancedPool, Pool } from 'undici'
import { moleculerCaller } from './discovery-moleculer.ts'

const WARM_MS = 1000
const MEASURED_MS = 3000
const CALLERS = 12
const PATIENCE_MS = 300
const WELL_MS = 20

/** What the first of five does; the others answer in about 20 ms. */
const sick: Record<string, RequestListener> = {
  slow: (_, response) => void setTimeout(() => response.end('ok'), 200),
  failing: (_, response) => response.writeHead(500).end('no'),
  hung: () => {},
  'fast 429': (_, response) => response.writeHead(429, { 'retry-after': '30' }).end('no'),
}
const wellMs = () => WELL_MS * (0.75 + Math.random() / 2)
/** How late the timers of the well ones were in all: what this machine adds. */
let [lateMs, answered] = [0, 0]
const well: RequestListener = (_, response) => {
  const forMs = wellMs()
  const since = performance.now()
  setTimeout(() => {
    lateMs += performance.now() - since - forMs
    answered++
    response.end('ok')
  }, forMs)
}
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

const [kind = '', balancer = '', quick] = process.argv[2]!.split('/').concat(process.argv.slice(3))
const hits = [0, 0, 0, 0, 0]
const servers = hits.map((_, index) =>
  createServer((request, response) => {
    hits[index]!++
    ;(index === 0 ? sick[kind]! : well)(request, response)
  }).listen(0, '127.0.0.1'),
)
await Promise.all(servers.map((server) => new Promise((resolve) => server.once('listening', resolve))))
const origins = servers.map((server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`)

/** The same in moleculer, whose nodes talk over a transporter of their own. */
const sickNode: Record<string, () => Promise<string>> = {
  slow: async () => (await wait(200), 'ok'),
  failing: async () => {
    throw Object.assign(new Error('no'), { code: 500 })
  },
  hung: () => new Promise(() => {}),
  'fast 429': async () => {
    throw Object.assign(new Error('no'), { code: 429 })
  },
}
const moleculer = (strategy: string) => () =>
  moleculerCaller(
    strategy,
    hits.length,
    async (node) => {
      hits[node]!++
      return node === 0 ? sickNode[kind]!() : (await wait(wellMs()), 'ok')
    },
    PATIENCE_MS,
  )

/** Callers that give up, as callers do. */
const patience = () => AbortSignal.timeout(PATIENCE_MS)
type Call = () => Promise<boolean>
const callers: Record<string, () => Call | Promise<Call>> = {
  ours: () => {
    const client = createDiscovery({ registry: staticInstances({ shop: origins }) }).client('shop')
    return async () => {
      const response = await client.fetch('/', { signal: patience() })
      await response.text()
      return response.ok
    }
  },
  BalancedPool: () => {
    const pool = new BalancedPool(origins)
    return async () => {
      const { statusCode, body } = await pool.request({ path: '/', method: 'GET', signal: patience() })
      await body.text()
      return statusCode === 200
    }
  },
  'round robin': () => {
    const pools = origins.map((origin) => new Pool(origin))
    let turn = 0
    return async () => {
      const { statusCode, body } = await pools[turn++ % pools.length]!.request({ path: '/', method: 'GET', signal: patience() })
      await body.text()
      return statusCode === 200
    }
  },
  'moleculer, RoundRobin': moleculer('RoundRobin'),
  'moleculer, Latency': moleculer('Latency'),
  'moleculer, CpuUsage': moleculer('CpuUsage'),
}
const call = await callers[balancer]!()
let [good, bad] = [0, 0]
let running = true
const loops = Array.from({ length: CALLERS }, async () => {
  while (running) {
    if (await call().catch(() => false)) good++
    else bad++
  }
})
await wait(WARM_MS)
lateMs = answered = 0
const [hitsBefore, goodBefore, badBefore] = [hits.slice(), good, bad]
await wait(quick === undefined ? MEASURED_MS : MEASURED_MS / 2)
const counted = hits.map((count, index) => count - hitsBefore[index]!)
running = false
await Promise.race([Promise.all(loops), wait(1000)])
const total = counted.reduce((sum, count) => sum + count, 0)
console.log(
  JSON.stringify({
    lateMs: lateMs / Math.max(1, answered),
    share: (counted[0]! / total) * 100,
    failed: ((bad - badBefore) / (good - goodBefore + bad - badBefore)) * 100,
  }),
)
process.exit()
