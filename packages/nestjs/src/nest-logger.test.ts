import { expect, it } from 'vitest'
import { nestLogger } from './index.ts'

it("makes fields of Nest's context, stack and objects", () => {
  const lines: unknown[] = []
  const write = (level: string) => (fields: object, message?: string) => void lines.push([level, fields, message])
  const logger = nestLogger({ debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') })
  const stack = 'Error: x\n    at y (z.js:1:1)'
  const error = new Error('broken')
  logger.log('started', 'NestFactory')
  logger.error('broken', stack, 'ExceptionsHandler')
  logger.error(error, 'ExceptionsHandler')
  logger.warn({ route: '/a' }, 'Router')
  logger.verbose?.('detail')
  logger.log('two', { a: 1 }, 'Module')
  logger.log(['a', 'list'], 'Module')
  expect(lines).toEqual([
    ['info', { context: 'NestFactory' }, 'started'],
    ['error', { context: 'ExceptionsHandler', stack }, 'broken'],
    ['error', { context: 'ExceptionsHandler', err: error }, 'broken'],
    ['warn', { context: 'Router', route: '/a' }, undefined],
    ['debug', {}, 'detail'],
    ['info', { context: 'Module', details: [{ a: 1 }] }, 'two'],
    ['info', { context: 'Module', details: ['a', 'list'] }, undefined],
  ])
})

it('is not hurt by a logger that throws', () => {
  const fail = (): never => {
    throw new Error('no')
  }
  const logger = nestLogger({ debug: fail, info: fail, warn: fail, error: fail })
  expect(() => [logger.log('a'), logger.error(new Error('b')), logger.warn({ c: 1 })]).not.toThrow()
})
