/** A process whose event loop stands still for as long as it is told, in the middle of a message: longer than heartbeats allow. */
import { createBroker } from '../broker.ts'
import { rabbitmq } from '../drivers/rabbitmq.ts'
import { sold } from './sold.ts'

const [url, group, blockMs] = process.argv.slice(2) as [string, string, string]
const broker = createBroker({ driver: rabbitmq({ urls: [url] }), service: 'blocked' })
let blocked = false
const say = (did: string, id: string): void => void process.stdout.write(`${JSON.stringify({ did, id, group })}\n`)
await broker.consume(
  sold,
  async ({ id }) => {
    say('begin', id)
    if (!blocked) {
      blocked = true
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(blockMs))
      process.stdout.write('awake\n')
    }
    say('handle', id)
  },
  { group, concurrency: 2 },
)
process.stdout.write('subscribed\n')
