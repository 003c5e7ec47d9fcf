import { faultProxy } from '@platform/stack'
import { testRabbitmq } from '@platform/stack/testing'
import amqp from 'amqplib'
import { expect, it } from 'vitest'
import { Generation } from './generation.ts'

it('fetching a message ends with its connection, in the middle of the message as well', { timeout: 30_000 }, async () => {
  await using vhost = await testRabbitmq()
  await using proxy = await faultProxy(vhost.url)
  const connection = await amqp.connect(proxy.url)
  connection.on('error', () => {})
  const channel = await connection.createConfirmChannel()
  await channel.assertQueue('fetched')
  channel.sendToQueue('fetched', Buffer.alloc(100_000))
  await channel.waitForConfirms()
  const generation = new Generation(await connection.createChannel())
  proxy.tear(5_000, { direction: 'to-client' })
  await expect(generation.get('fetched')).rejects.toMatchObject({ code: 'ERR_QUEUE_LEASE_LOST' })
  expect(generation.alive).toBe(false)
})
