/** A process of its own that writes one key after the other until it is killed: `node killed-writer.fixture.ts <redis url> <namespace> <keys>`. Tells when it begins, and then waits for its end. */
import { memory } from '../drivers/memory.ts'
import { redis, redisBus } from '../drivers/redis.ts'
import { createCache } from '../index.ts'

const [url = '', namespace = '', keys = ''] = process.argv.slice(2)
const cache = createCache({ namespace, l1: memory({ maxBytes: 1e6 }), l2: redis({ url }), bus: redisBus({ url }), ttlMs: 600_000 })
await cache.ready()
process.send!('begins')
for (let key = 0; key < Number(keys); key++) {
  if (key % 2 === 0) await cache.delete(`k${key}`)
  else await cache.set(`k${key}`, 'new')
}
