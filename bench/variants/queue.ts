/** One variant in a process of its own: `node queue.ts <library> <kind> <window> <messages> <url>` prints what it measured as JSON. Throws when a message is missing. */
import { createBroker, defineMessage } from '@platform/queue'
import { rabbitmq } from '@platform/queue/rabbitmq'
import amqp from 'amqplib'
import { Connection } from 'rabbitmq-client'
import { z } from 'zod'

const [library, kind, windowText, totalText, url] = process.argv.slice(2) as [string, 'publish' | 'consume', string, string, string]
const window = Number(windowText)
const total = Number(totalText)
const text = 'x'.repeat(1_000)
const queue = `bench-${library}-${kind}-${window}`
const quorum = { 'x-queue-type': 'quorum' } as const

/** Publishes one message, confirmed, to a quorum queue; and consumes with so many in flight, acknowledging each. */
interface Subject {
  publish(): Promise<unknown>
  consume(prefetch: number, handle: () => void): Promise<unknown>
  close(): Promise<unknown>
}

const subjects: Record<string, () => Promise<Subject>> = {
  async ours() {
    const broker = createBroker({ driver: rabbitmq({ urls: [url] }), service: 'bench' })
    const message = defineMessage(queue, { version: 1, schema: z.object({ text: z.string() }) })
    await (await broker.consume(message, async () => {}, { group: 'g' })).close()
    return {
      publish: () => broker.publish(message, { text }),
      consume: (prefetch, handle) => broker.consume(message, async () => handle(), { group: 'g', concurrency: prefetch }),
      close: () => broker.close(),
    }
  },
  async amqplib() {
    const connection = await amqp.connect(url, { noDelay: true })
    const channel = await connection.createConfirmChannel()
    await channel.assertQueue(queue, { durable: true, arguments: quorum })
    return {
      publish: () =>
        new Promise<void>((resolve, reject) => {
          const body = Buffer.from(JSON.stringify({ text }))
          channel.sendToQueue(queue, body, { persistent: true, mandatory: true }, (error) => (error ? reject(error as Error) : resolve()))
        }),
      async consume(prefetch, handle) {
        const consuming = await connection.createChannel()
        await consuming.prefetch(prefetch)
        await consuming.consume(queue, (message) => {
          if (message === null) return
          JSON.parse(message.content.toString())
          handle()
          consuming.ack(message)
        })
      },
      close: () => connection.close(),
    }
  },
  async 'rabbitmq-client'() {
    const connection = new Connection({ url, noDelay: true })
    await connection.onConnect()
    const publisher = connection.createPublisher({ confirm: true, queues: [{ queue, durable: true, arguments: quorum }] })
    return {
      publish: () => publisher.send({ routingKey: queue, durable: true, mandatory: true }, { text }),
      async consume(prefetch, handle) {
        const options = { queue, qos: { prefetchCount: prefetch }, queueOptions: { durable: true, arguments: quorum } }
        connection.createConsumer(options, async () => handle())
      },
      close: async () => {},
    }
  },
}

const subject = await subjects[library]!()

async function publishAll(count: number, inFlight: number): Promise<void> {
  let next = 0
  const lane = async (): Promise<void> => {
    for (; next < count; ) {
      next += 1
      await subject.publish()
    }
  }
  await Promise.all(Array.from({ length: inFlight }, lane))
}

/** What comes first pays for the compiler. */
const first = Math.min(5_000, total)
await publishAll(first, 64)
let begun = { cpu: process.cpuUsage(), at: performance.now() }
if (kind === 'publish') await publishAll(total, window)
else {
  await publishAll(total, 256)
  let seen = 0
  await new Promise<void>((resolve, reject) => {
    setTimeout(() => reject(new Error(`${seen} of ${first + total} arrived`)), 60_000).unref()
    void subject.consume(window, () => {
      seen += 1
      if (seen === first) begun = { cpu: process.cpuUsage(), at: performance.now() }
      if (seen === first + total) resolve()
    })
  })
}
const ms = performance.now() - begun.at
const { user, system } = process.cpuUsage(begun.cpu)
console.log(JSON.stringify({ perSecond: (total / ms) * 1000, cpuUs: (user + system) / total }))
await subject.close()
process.exit(0)
