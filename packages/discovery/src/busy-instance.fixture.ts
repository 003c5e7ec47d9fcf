/** Registers with the agent that is named, is then too busy for anything for five seconds, and must exit by itself. */
import { createDiscovery } from './index.ts'
import { consul } from './registries/consul.ts'

const [url, stallGraceMs] = process.argv.slice(2)
const discovery = createDiscovery({ registry: consul({ url: url! }), stallGraceMs: Number(stallGraceMs) })
await discovery.register({ id: 'me', service: 'me', address: '127.0.0.1', port: 1, check: { ttlMs: 1000 } })
await new Promise((resolve) => setTimeout(resolve, 1000))
process.stdout.write('blocked\n')
await new Promise((resolve) => setTimeout(resolve, 20))
for (const until = performance.now() + 5000; performance.now() < until; );
process.stdout.write('free\n')
