/**
 * A process that has a message in a handler that never ends. At SIGTERM it asks its broker for all that one can wait for, closes it, says what came of
 * each, and then has to end by itself.
 */
import { createBroker } from '../broker.ts'
import { QueueError } from '../errors.ts'
import { driverAt } from './driver-at.ts'
import { sold } from './sold.ts'

const [url, group] = process.argv.slice(2) as [string, string]
const broker = createBroker({ driver: driverAt(url), service: 'leaving', publishTimeoutMs: 60_000, deadLetterTimeoutMs: 60_000 })

async function leave(): Promise<void> {
  const sale = { film: 'a', n: 2 }
  const dead = broker.deadLetters(sold, group)
  const waits = {
    publish: broker.publish(sold, sale),
    delayed: broker.publish(sold, sale, { delayMs: 1_000 }),
    count: dead.count(),
    list: dead.list(),
    replay: dead.replay('none'),
    release: dead.release('none'),
    deleteGroup: broker.deleteGroup(sold, group),
    consume: broker.consume(sold, async () => {}, { group: 'another' }),
    check: broker.check(),
    drain: broker.drain(),
  }
  const outcomes: Record<string, string> = Object.fromEntries(Object.keys(waits).map((name) => [name, 'pending']))
  for (const [name, wait] of Object.entries(waits)) {
    wait.then(
      () => (outcomes[name] = 'done'),
      (error: unknown) => (outcomes[name] = QueueError.isInstance(error) ? error.code : String(error)),
    )
  }
  await broker.close({ timeoutMs: 1_000 })
  await new Promise(setImmediate)
  process.stdout.write(`${JSON.stringify(outcomes)}\n`)
}

process.once('SIGTERM', () => void leave())
await broker.consume(
  sold,
  () => {
    process.stdout.write('started\n')
    return new Promise(() => {})
  },
  { group },
)
process.stdout.write('subscribed\n')
