/** `node discovery-change.ts <url> <changes>`: how long after a change in a real Consul a client's set has it, in ms, as JSON. */
import { createDiscovery } from '@platform/discovery'
import { consul } from '@platform/discovery/consul'

const [url = '', changes = ''] = process.argv.slice(2)
/** A watch that has rested may read five times at once, then once a second. */
const BETWEEN_MS = 1500
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

const watcher = createDiscovery({ registry: consul({ url }), emptyConfirmMs: 0 })
const service = `change-${process.pid}`
let changed = Promise.withResolvers<void>()
watcher.watch(service, () => changed.resolve())
await watcher.resolve(service)

const agent = (path: string, body?: object) =>
  fetch(`${url}/v1/agent/service/${path}`, { method: 'PUT', body: body ? JSON.stringify(body) : null })
const times: number[] = []
for (let change = 0; change < Number(changes); change++) {
  await wait(BETWEEN_MS)
  changed = Promise.withResolvers()
  const from = performance.now()
  await (change % 2 === 0
    ? agent('register', { ID: `${service}-1`, Name: service, Address: '10.0.0.1', Port: 1 })
    : agent(`deregister/${service}-1`))
  await changed.promise
  times.push(performance.now() - from)
}
console.log(JSON.stringify(times))
process.exit()
