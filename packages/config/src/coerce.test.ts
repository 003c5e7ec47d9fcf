import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { bytes, ConfigError, defineConfig, duration, env } from './index.ts'

const variables = (values: Record<string, string>) => env({ prefix: 'APP', variables: values })

describe('strict conversion of text', () => {
  const definition = defineConfig({
    schema: z.object({
      number: z.number().optional(),
      coerced: z.coerce.number().optional(),
      flag: z.boolean().optional(),
      list: z.array(z.number()).optional(),
      level: z.enum(['debug', 'info']).optional(),
      labels: z.record(z.string(), z.number()).optional(),
      either: z.union([z.string(), z.number()]).nullable().optional(),
      exact: z.literal([1, true]).optional(),
      big: z.bigint().optional(),
      wait: duration().optional(),
      limit: bytes().optional(),
    }),
  })
  const load = async (name: string, value: string) =>
    (await definition.load({ sources: [variables({ [`APP_${name}`]: value })] })).current as Record<string, unknown>

  it.each([
    ['NUMBER', ' -8.5 ', 'number', -8.5],
    ['FLAG', 'false', 'flag', false],
    ['LIST', '1, 2', 'list', [1, 2]],
    ['LIST', '[3]', 'list', [3]],
    ['LEVEL', 'info', 'level', 'info'],
    ['LABELS', '{"a":1}', 'labels', { a: 1 }],
    ['EITHER', '7', 'either', 7],
    ['EITHER', '7x', 'either', '7x'],
    ['EXACT', '1', 'exact', 1],
    ['BIG', '9007199254740993', 'big', 9007199254740993n],
    ['WAIT', '5m', 'wait', 300_000],
    ['WAIT', '1.5s', 'wait', 1_500],
    ['WAIT', '250', 'wait', 250],
    ['LIMIT', '64mb', 'limit', 64_000_000],
    ['LIMIT', '1KiB', 'limit', 1024],
  ])('takes %s=%s', async (name, text, key, value) => {
    expect((await load(name, text))[key]).toEqual(value)
  })

  it.each([
    ...['8080abc', '0x10', '1e3', 'NaN', 'Infinity', '+1', '01', '1.', '.5', ' ', '9007199254740993'].flatMap((text) => [
      ['NUMBER', text],
      ['COERCED', text],
    ]),
    ...['yes', 'no', '0', '1', 'TRUE', ' '].map((text) => ['FLAG', text]),
    ...['1,,2', '1,x', '[1', '1,'].map((text) => ['LIST', text]),
    ...['[]', 'null', '{', 'x'].map((text) => ['LABELS', text]),
    ...['5 minutes', '-5m', '5', 'm', '1e3ms', 'ms'].filter((text) => text !== '5').map((text) => ['WAIT', text]),
    ['LEVEL', 'trace'],
    ['LIMIT', '64mbit'],
  ] as [string, string][])('refuses %s=%j with one fault that names the variable', async (name, text) => {
    const error: unknown = await load(name, text).catch((reason: unknown) => reason)
    const faults = ConfigError.isInstance(error) ? error.faults : []
    expect(faults).toMatchObject([{ path: name.toLowerCase(), location: `APP_${name}`, source: 'env' }])
  })

  it('takes an empty variable for one that is not set', async () => {
    expect((await load('NUMBER', ''))['number']).toBeUndefined()
  })
})
