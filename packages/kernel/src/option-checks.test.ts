import { expect, test } from 'vitest'
import { choiceOption, durationOption, functionOption, integerOption, knownOptions, numberOption } from './option-checks.ts'

const refuse = (option: string, problem: string): Error => new Error(`${option} ${problem}`)

test.each([Number.NaN, Infinity, 0, 11, 1.5, '5', null, undefined, [5]])('a whole number from 1 to 10 is not %s', (value) => {
  expect(() => integerOption(refuse, 'maxSize', value, 1, 10)).toThrow(/^maxSize must be a whole number from 1 to 10, not /)
})

test('a duration is at most what a timer can wait', () => {
  expect(durationOption(refuse, 'ttlMs', 0.5, 0)).toBe(0.5)
  expect(durationOption(refuse, 'ttlMs', 2 ** 31 - 1, 0)).toBe(2 ** 31 - 1)
  expect(() => durationOption(refuse, 'ttlMs', 2 ** 31, 0)).toThrow('ttlMs must be a number from 0 to 2147483647, not 2147483648')
})

test('a text in the wrong place is not shown', () => {
  const wrong = () => numberOption(refuse, 'port', 'pa55word', 1)
  expect(wrong).toThrow('port must be a number of at least 1, not a value of type string')
  expect(() => choiceOption(refuse, 'mode', 'pa55word', ['on', 'off'])).toThrow(/^mode must be one of on, off$/)
})

test('an option that nobody knows is refused with its path and those that are known', () => {
  expect(() => knownOptions(refuse, '', { sise: 1 }, ['size'])).toThrow('sise is unknown; known are size')
  expect(() => knownOptions(refuse, 'retry', { max: 1 }, ['maxAttempts'])).toThrow('retry.max is unknown')
  expect(() => knownOptions(refuse, '', undefined, [])).toThrow('options must be an object, not undefined')
  expect(() => knownOptions(refuse, '', JSON.parse('{"__proto__": 1}'), ['size'])).toThrow('__proto__ is unknown')
})

test('a callback is a function or absent', () => {
  expect(functionOption(refuse, 'onRetry', undefined)).toBeUndefined()
  expect(() => functionOption(refuse, 'onRetry', null)).toThrow('onRetry must be a function, not null')
})
