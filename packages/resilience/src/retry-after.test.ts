import { describe, expect, it } from 'vitest'
import { retryAfterMs } from './retry-after.ts'

describe('Retry-After', () => {
  const at = 'Wed, 25 Nov 2026 10:00:07 GMT'
  const date = 'Wed, 25 Nov 2026 10:00:00 GMT'

  it.each<[string, unknown, number | undefined]>([
    ['Headers of a response', new Response('', { headers: { 'retry-after': '3' } }), 3000],
    ['an object of node:http', { headers: { 'retry-after': '3' } }, 3000],
    ['an object in the case of its sender', { headers: { 'Retry-After': '3' } }, 3000],
    ['a list of values', { headers: { 'retry-after': ['3', '9'] } }, 3000],
    ['a number', { headers: { 'retry-after': 3 } }, 3000],
    ['a Map', { headers: new Map([['Retry-After', '3']]) }, 3000],
    ['pairs', { headers: [['retry-after', '3']] }, 3000],
    ['a flat list', { rawHeaders: ['Date', date, 'Retry-After', '3'] }, 3000],
    ['buffers', { headers: [Buffer.from('retry-after'), Buffer.from('3')] }, 3000],
    ['the response of an error', Object.assign(new Error('429'), { response: { headers: { 'retry-after': '3' } } }), 3000],
    ['the headers of an error', Object.assign(new Error('429'), { headers: { 'retry-after': '3' } }), 3000],
    ['a field of an error', Object.assign(new Error('429'), { retryAfterMs: 12 }), 12],
    ["a date by the sender's clock", { headers: { 'retry-after': at, date } }, 7000],
    ['a date in the past', { headers: { 'retry-after': date, date: at } }, 0],
    ['parts of a second', { headers: { 'retry-after': '0.5' } }, 500],
    ['nonsense', { headers: { 'retry-after': 'soon' } }, undefined],
    ['none', { headers: {} }, undefined],
    ['a value that is no object', 'text', undefined],
    ['a getter that throws', Object.defineProperty({}, 'headers', { get: () => JSON.parse('{') as unknown }), undefined],
  ])('of %s', (_, source, expected) => {
    expect(retryAfterMs(source)).toBe(expected)
  })

  it('as a date without the sender’s own is measured against our clock', () => {
    const ms = retryAfterMs({ headers: { 'retry-after': new Date(Date.now() + 60_000).toUTCString() } })
    expect(ms).toBeGreaterThan(50_000)
    expect(ms).toBeLessThanOrEqual(60_000)
  })
})
