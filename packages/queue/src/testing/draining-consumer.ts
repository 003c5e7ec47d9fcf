/** A process that closes its broker at each SIGTERM, as often as it comes, and ends when that is done. */
import { createBroker } from '../broker.ts'
import { rabbitmq } from '../drivers/rabbitmq.ts'
import { sold } from './sold.ts'

const [url, group] = process.argv.slice(2) as [string, string]
const broker = createBroker({ driver: rabbitmq({ urls: [url] }), service: 'draining' })
const say = (did: string, id: string): void => void process.stdout.write(`${JSON.stringify({ did, id, group })}\n`)
process.on('SIGTERM', () => void broker.close({ timeoutMs: 20_000 }).then(() => process.exit(0)))
await broker.consume(
  sold,
  async ({ id }) => {
    say('begin', id)
    await new Promise((resolve) => setTimeout(resolve, 300))
    say('handle', id)
  },
  { group, ordered: group.endsWith('in-order'), concurrency: 4 },
)
process.stdout.write('subscribed\n')
