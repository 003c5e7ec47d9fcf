import type { Failure } from './failure.ts'

/** A message that no contract describes, from inside, as the service itself is connected. */
const poison = `
const { connect } = require('/repo/packages/node_modules/amqplib')
const { readFileSync } = require('node:fs')
connect(readFileSync('/run/secrets/fulfilment_queue_url', 'utf8')).then(async (connection) => {
  const channel = await connection.createConfirmChannel()
  channel.publish('platform/orders.placed.v1', '', Buffer.from('no order'))
  await channel.waitForConfirms()
  await connection.close()
})`

/** As in `docker/rabbitmq/rabbitmq.conf`. */
const watermark = '160MiB'

export const ofMessages: readonly Failure[] = [
  {
    what: 'nobody fulfils orders',
    isCore: true,
    alerts: [
      { labels: { alertname: 'ServiceDown', job: 'fulfilment-worker' }, to: 'page' },
      { labels: { alertname: 'QueueGrows', queue: 'platform/orders.placed.v1/fulfilment' }, to: 'page' },
    ],
    async inject({ compose, customers: { order } }) {
      await compose('stop', 'fulfilment-worker')
      await order(30)
      return () => compose('start', 'fulfilment-worker')
    },
  },
  {
    what: 'a message that nobody understands',
    isCore: true,
    alerts: [{ labels: { alertname: 'DeadLetters', job: 'fulfilment-worker' }, to: 'ticket' }],
    async inject({ compose }) {
      await compose('exec', '-T', 'fulfilment-worker', 'node', '-e', poison)
      return async () => {}
    },
  },
  {
    what: 'the broker is gone',
    isCore: true,
    alerts: [
      { labels: { alertname: 'ServerDown', job: 'rabbitmq' }, to: 'page' },
      { labels: { alertname: 'OutboxLags', job: 'orders-api' }, to: 'page' },
    ],
    async inject({ compose, customers: { order } }) {
      await compose('kill', 'rabbitmq')
      await order(5)
      return () => compose('start', 'rabbitmq')
    },
  },
  {
    what: 'the broker may hold no more in memory',
    isCore: true,
    alerts: [{ labels: { alertname: 'BrokerRefuses', job: 'rabbitmq' }, to: 'page' }],
    async inject({ compose }) {
      const limit = (amount: string) => compose('exec', '-T', 'rabbitmq', 'rabbitmqctl', 'set_vm_memory_high_watermark', 'absolute', amount)
      await limit('1MiB')
      return () => limit(watermark)
    },
  },
]
