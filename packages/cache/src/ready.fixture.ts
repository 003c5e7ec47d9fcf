/** A process of its own: its cache waits for a bus that holds nothing, and then is closed. Prints how far it came. */
import { createCache, type InvalidationBus } from './index.ts'
import { memory } from './drivers/memory.ts'

const bus: InvalidationBus = {
  name: 'late',
  maxPayloadBytes: 8_000,
  heartbeatMs: 50,
  open: ({ onMessage, onLost }) => {
    let stands = false
    const timer = setTimeout(() => {
      stands = true
      onLost('stands')
    }, 300)
    // oxlint-disable-next-line no-restricted-syntax -- what is tested: nothing but the cache holds this process.
    timer.unref()
    const publish = async (payload: string): Promise<void> => {
      if (!stands) throw new Error('not yet')
      onMessage(payload)
    }
    return { publish, close: async () => undefined }
  },
}
const cache = createCache({ namespace: 'ready', l1: memory({ maxBytes: 1e6 }), ttlMs: 60_000, bus })
await cache.ready()
console.log('ready')
await cache.close()
console.log('closed')
