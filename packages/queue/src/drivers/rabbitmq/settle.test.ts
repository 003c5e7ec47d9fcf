import type { ConsumeMessage } from 'amqplib'
import { describe, expect, it } from 'vitest'
import { QueueError } from '../../errors.ts'
import type { Generation } from './generation.ts'
import type { ConfirmPublisher } from './publisher.ts'
import { Settlement, type Delivered } from './settle.ts'
import type { WaitQueues } from './wait-queues.ts'

const message = { content: Buffer.from('1'), properties: {}, fields: { deliveryTag: 1 } } as unknown as ConsumeMessage

/** A settlement whose copies are stored, or not, as `store` says, and what it did, in order. */
function settlement(store: () => Promise<void>): { settlement: Settlement; delivered: Delivered; did: string[] } {
  const did: string[] = []
  const publisher = {
    send: async ({ routingKey }: { routingKey: string }) => {
      await store()
      did.push(`stored in ${routingKey}`)
    },
  } as unknown as ConfirmPublisher
  const waits = { ensure: async (routingKey: string) => ({ exchange: 'wait', routingKey }), forget: () => {} } as unknown as WaitQueues
  const generation = { signal: new AbortController().signal, ack: () => void did.push('acknowledged') } as unknown as Generation
  const restore = async (): Promise<void> => void did.push('restored')
  return { settlement: new Settlement('q', 'q/dead', { publisher, waits, restore }), delivered: { message, generation }, did }
}

const none = { counted: 0, shown: 0 }

describe('a delivery that leaves its queue', () => {
  it('is acknowledged once its copy is stored', async () => {
    const retried = settlement(async () => {})
    await retried.settlement.retry(retried.delivered, 10, none)
    expect(retried.did).toEqual(['stored in q', 'acknowledged'])
    const moved = settlement(async () => {})
    await moved.settlement.moveTo('q/trial', moved.delivered, {})
    expect(moved.did).toEqual(['stored in q/trial', 'acknowledged'])
  })

  it('is not acknowledged when its copy cannot be stored', async () => {
    const closed = settlement(() => Promise.reject(new QueueError('ERR_QUEUE_CLOSED')))
    await expect(closed.settlement.retry(closed.delivered, 10, none)).rejects.toMatchObject({ code: 'ERR_QUEUE_CLOSED' })
    await expect(closed.settlement.moveTo('q/trial', closed.delivered, {})).rejects.toMatchObject({ code: 'ERR_QUEUE_CLOSED' })
    expect(closed.did).toEqual([])
  })

  it('is stored at a later try when the queue had gone and was made anew', async () => {
    let failures = 2
    const {
      settlement: settled,
      delivered,
      did,
    } = settlement(async () => {
      if (failures-- > 0) throw new QueueError('ERR_QUEUE_UNROUTABLE')
    })
    await settled.bury(delivered, 'a reason', none, 0)
    expect(did).toEqual(['restored', 'restored', 'stored in q/dead'])
  })
})
