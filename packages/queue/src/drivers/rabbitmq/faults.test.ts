import { describe, expect, it } from 'vitest'
import { replyCode, typed } from './faults.ts'

describe("the broker's refusals", () => {
  it.each([
    ['an error of amqplib', Object.assign(new Error('Channel closed by server: 404'), { code: 404 })],
    ['the frame that amqplib 0.10.0 rejects with', { id: 1_310_760, channel: 2, fields: { replyCode: 404, replyText: 'NOT_FOUND' } }],
  ])('are known by their number: %s', (_, refusal) => {
    expect(replyCode(refusal)).toBe(404)
    expect(typed(refusal)).toMatchObject({ code: 'ERR_QUEUE_NOT_FOUND', cause: refusal })
  })

  it.each([undefined, null, 'gone', new Error('read ECONNRESET'), Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })])(
    'are told from what no broker said: %s',
    (error) => {
      expect(replyCode(error)).toBeUndefined()
      expect(typed(error)).toMatchObject({ code: 'ERR_QUEUE_UNAVAILABLE' })
    },
  )
})
