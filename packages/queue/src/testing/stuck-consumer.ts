/** A process that takes a message and never finishes: started and killed by the chaos tests. */
import { createBroker } from '../broker.ts'
import { driverAt } from './driver-at.ts'
import { sold } from './sold.ts'

const url = process.argv[2] as string
const broker = createBroker({ driver: driverAt(url), service: 'stuck' })
await broker.consume(
  sold,
  async () => {
    process.stdout.write('started\n')
    await new Promise(() => {})
  },
  { group: 'shop', concurrency: 1 },
)
process.stdout.write('subscribed\n')
