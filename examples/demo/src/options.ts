import { parseArgs } from 'node:util'

export const modes = ['embedded', 'native', 'compose'] as const
export const failures = ['worker', 'catalog', 'database', 'servers'] as const
export type Mode = (typeof modes)[number]
export type Failure = (typeof failures)[number]

export interface DemoOptions {
  readonly orders: number
  readonly concurrency: number
  readonly mode: Mode
  readonly seed: number
  readonly chaos: Failure | undefined
  /** Whether the images are brought up to date first; they are only there in compose mode. */
  readonly build: boolean
  /** A missed target counts as a failure. */
  readonly strict: boolean
  /** Where the figures are written as JSON, beside being printed. */
  readonly json: string | undefined
}

export const usage: string = `Usage: pnpm demo [options]
  --orders N         orders to place                          (1000)
                     half in a rush, half at a steady pace: half of what the rush reached
  --concurrency N    customers at the same time in the rush   (50)
  --mode MODE        ${modes.join(' | ').padEnd(41)}(embedded)
                     embedded: PostgreSQL from npm carries messages and invalidations
                     native: PostgreSQL, Redis, RabbitMQ, Consul and nginx of this machine
                     compose: everything in containers, customers come through the gateway
  --seed N           the same traffic again                   (drawn at random and printed)
  --chaos WHAT       breaks it in mid-run: ${failures.join(' | ')}
                     servers: in compose mode each in turn, and customers go on until all are back
  --no-build         compose mode: with the images that are there
  --strict           a missed target makes the exit code 1, not only broken books
  --json FILE        writes the figures to a file as well`

/** Throws an error whose message says which option is wrong and what it takes. */
export function readOptions(argv: readonly string[]): DemoOptions | 'help' {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      orders: { type: 'string', default: '1000' },
      concurrency: { type: 'string', default: '50' },
      mode: { type: 'string', default: 'embedded' },
      seed: { type: 'string' },
      chaos: { type: 'string' },
      'no-build': { type: 'boolean', default: false },
      strict: { type: 'boolean', default: false },
      json: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return 'help'
  const mode = oneOf('mode', values.mode, modes)
  const chaos = values.chaos === undefined ? undefined : oneOf('chaos', values.chaos, failures)
  if (values['no-build'] && mode !== 'compose') throw new Error('--no-build takes --mode compose')
  if (chaos === 'servers' && mode !== 'compose') throw new Error('--chaos servers takes --mode compose')
  return {
    orders: wholeNumber('orders', values.orders, 1, 1_000_000),
    concurrency: wholeNumber('concurrency', values.concurrency, 1, 1_000),
    mode,
    seed: wholeNumber('seed', values.seed ?? String(Math.floor(Math.random() * 1_000_000)), 0, 2 ** 31 - 1),
    chaos,
    build: !values['no-build'],
    strict: values.strict,
    json: values.json,
  }
}

function wholeNumber(name: string, text: string, min: number, max: number): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= min && value <= max) return value
  throw new Error(`--${name} takes a whole number from ${min} to ${max}, not "${text}"`)
}

function oneOf<T extends string>(name: string, text: string, known: readonly T[]): T {
  const found = known.find((each) => each === text)
  if (found) return found
  throw new Error(`--${name} takes ${known.join(', ')}, not "${text}"`)
}
