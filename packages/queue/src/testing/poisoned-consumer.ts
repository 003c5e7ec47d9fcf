/** A process that dies of one message while it handles others beside it: started again and again by the chaos tests. */
import { createBroker } from '../broker.ts'
import { driverAt } from './driver-at.ts'
import { poison, sold } from './sold.ts'

const [url, group] = process.argv.slice(2) as [string, string]
const broker = createBroker({ driver: driverAt(url), service: 'poisoned' })
await broker.consume(
  sold,
  async ({ id, body }) => {
    process.stdout.write(`${JSON.stringify({ did: 'begin', id, group })}\n`)
    if (body.n === poison) setTimeout(() => process.exit(7), 50)
    await new Promise((resolve) => setTimeout(resolve, 120))
    process.stdout.write(`${JSON.stringify({ did: 'handle', id, group })}\n`)
  },
  { group, ordered: group.endsWith('in-order'), concurrency: 4, retry: { maxAttempts: 2, initialDelayMs: 20 } },
)
