import { describe, expect, it, vi } from 'vitest'
import { z } from 'zod'
import { defineMessage } from './index.ts'
import { encode } from './message.ts'

const plain = z.object({ n: z.number() })
const no = new Error('no')
/** Below zero it rejects. */
const later = plain.refine(async ({ n }) => {
  if (n < 0) throw no
  return n > 0
})

describe('a schema', () => {
  it('is asked at once as soon as a value has shown that it can be', async () => {
    const message = defineMessage('plain', { version: 1, schema: plain })
    await encode(message, { n: 1 }, {})
    expect(encode(message, { n: 2 }, {})).toMatchObject({ destination: 'plain.v1' })
    expect(() => encode(message, { n: 'a' } as never, {})).toThrow(expect.objectContaining({ code: 'ERR_QUEUE_INVALID' }) as Error)
  })

  it.each([
    ['at its first value', []],
    ['after a value that fits', [{ n: 1 }]],
    ['after a value that never came to the asynchronous part', [{ n: 'a' }]],
  ])('with an asynchronous part is awaited, and what that rejects with is heard: %s', async (_when, before) => {
    const unhandled = vi.fn<(reason: unknown) => void>()
    process.on('unhandledRejection', unhandled)
    const message = defineMessage('later', { version: 1, schema: later })
    for (const body of before) await Promise.allSettled([encode(message, body as never, {})])
    await expect(encode(message, { n: -1 }, {})).rejects.toMatchObject({ code: 'ERR_QUEUE_INVALID', cause: no })
    await new Promise(setImmediate)
    process.off('unhandledRejection', unhandled)
    expect(unhandled).not.toHaveBeenCalled()
  })

  it('may have its asynchronous part in a branch that no value came to before', async () => {
    const schema = z.union([z.object({ film: z.string() }), later])
    const message = defineMessage('branches', { version: 1, schema })
    await encode(message, { film: 'M' }, {})
    for (const n of [1, 2]) await expect(encode(message, { n }, {})).resolves.toMatchObject({ destination: 'branches.v1' })
    await expect(encode(message, { n: 0 }, {})).rejects.toMatchObject({ code: 'ERR_QUEUE_INVALID' })
  })
})
