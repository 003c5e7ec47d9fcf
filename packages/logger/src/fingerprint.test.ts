import { expect, it } from 'vitest'
import { fingerprint } from './fingerprint.ts'
import { kept } from './testing/kept-logger.ts'

const stacked = (name: string, message: string, ...frames: string[]): Error => {
  const error = Object.assign(new Error(message), { name })
  error.stack = [`${name}: ${message}`, ...frames.map((each) => `    at ${each}`)].join('\n')
  return error
}
const base = ['cancel (file:///app/src/orders.ts:10:3)', 'handle (/app/src/server.ts:5:1)']

it('is the same for one kind of error: other data, other lines, another folder, another library below it', () => {
  const first = fingerprint(stacked('TypeError', 'order 7 is gone', ...base))
  expect(first).toMatch(/^1-[\da-f]{16}$/)
  for (const [message, ...frames] of [
    ['order 8 is gone', ...base],
    ['order 7 is gone', 'cancel (file:///srv/v2/src/orders.ts:99:1)', 'async handle (/srv/v2/src/server.ts:6:2)'],
    ['order 7 is gone', 'query (/app/node_modules/pg/lib/client.js:1:1)', 'node:internal/process/task_queues:105:5', ...base],
  ] as const) {
    expect(fingerprint(stacked('TypeError', message, ...frames))).toBe(first)
  }
})

it('differs by type, by code and by place', () => {
  const all = [
    stacked('TypeError', 'x', ...base),
    stacked('RangeError', 'x', ...base),
    Object.assign(stacked('TypeError', 'x', ...base), { code: 'E' }),
    stacked('TypeError', 'x', 'place (file:///app/src/orders.ts:10:3)', base[1]!),
    stacked('TypeError', 'order 7 of "a" is gone'),
    stacked('TypeError', 'film 7 is gone'),
  ].map(fingerprint)
  expect(new Set(all).size).toBe(all.length)
  expect(fingerprint(stacked('TypeError', 'order 8 of "b" is gone'))).toBe(all[4])
})

it('is linear and never throws', () => {
  const hostile = ['    at '.repeat(50_000), `    at ${'('.repeat(50_000)}`, `at ${'a '.repeat(50_000)}`, '\n'.repeat(100_000)]
  const startedAt = performance.now()
  for (const stack of hostile) fingerprint(Object.assign(new Error('x'), { stack }))
  expect(performance.now() - startedAt).toBeLessThan(2_000)
  const boom = {
    get: (): never => {
      throw new Error('boom')
    },
  }
  expect(() => fingerprint(Object.defineProperties(new Error('x'), { stack: boom, name: boom, code: boom, message: boom }))).not.toThrow()
})

it.each(['json', 'ecs', 'pretty'] as const)('stands on the line of an error and on no other (%s)', (format) => {
  const { logger, texts } = kept({ format })
  const error = new Error('no')
  logger.error(error)
  logger.error({ err: error, error_id: 'mine' }, 'no')
  logger.error({ err: 'text' }, 'no')
  const key = {
    json: `"error_id":"${fingerprint(error)}"`,
    ecs: `"error.id":"${fingerprint(error)}"`,
    pretty: `error_id=${fingerprint(error)}`,
  }[format]
  expect(texts.map((text) => text.split(key).length - 1)).toEqual([1, 1, 0])
})
