import { parseArgs } from 'node:util'
import { QueueError } from '../errors.ts'
import { deadLetterCommand } from './dead-letter-command.ts'
import { topologyCommand } from './topology-command.ts'

export interface Output {
  out(text: string): void
  err(text: string): void
}

export interface Call {
  readonly url: string
  readonly name: string
  readonly version: number
  readonly group: string
  readonly ordered: boolean
  readonly shards: number | undefined
  readonly schema: string | undefined
  readonly prefix: string | undefined
  readonly id: string | undefined
  readonly all: boolean
  readonly limit: number | undefined
  readonly perSecond: number | undefined
  readonly maxReplays: number | undefined
}

export const usage = `platform-queue <command> --url URL --message NAME.vVERSION --group GROUP [options]

  dlq list                dead letters, one JSON line each, without bodies
  dlq show --id ID        one of them, with its body
  dlq replay --id ID      delivers it again; --all: all of them
  dlq discard --id ID     forgets it; --all: all of them
  topology plan           what of a group's exchanges, queues and bindings is missing on RabbitMQ, or differs; changes nothing
  topology apply          makes what is missing; refuses when something differs
  topology reshard        gives an ordered group another number of shards: --shards; told to call again until the old ones are empty
  topology definitions    the same as a definitions file for a broker that is to start with it; needs no --url

  --url          amqp://…, amqps://…, postgres://…, redis://… or rediss://…; default: PLATFORM_QUEUE_URL
  --schema       of the postgres driver
  --prefix       of the redis driver
  --ordered      topology: the group keeps the order of keys
  --shards       topology, of an ordered group: 1, 2, 4, 8, 16, 32 or 64; default 1
  --limit        dlq: how many, default 100; with --all 10,000
  --per-second   dlq replay --all: at most so many
  --max-replays  dlq replay --all: leave alone what was replayed so often, default 3
`

/** Exit code: 0 done, 1 not done or something differs, 2 something is wrong with the call. */
export async function main(argv: readonly string[], output: Output, env: NodeJS.ProcessEnv = process.env): Promise<number> {
  let command: string
  let call: Call
  try {
    const parsed = parse(argv, env)
    if (parsed === 'help') {
      output.out(usage)
      return 0
    }
    ;[command, call] = parsed
  } catch (error) {
    output.err(`${(error as Error).message}\n\n${usage}`)
    return 2
  }
  try {
    return await (command.startsWith('dlq ') ? deadLetterCommand(command, call, output) : topologyCommand(command, call, output))
  } catch (error) {
    if (!QueueError.isInstance(error)) throw error
    output.err(`${error.code}: ${error.message}\n`)
    return 1
  }
}

const commands = [
  'dlq list',
  'dlq show',
  'dlq replay',
  'dlq discard',
  'topology plan',
  'topology apply',
  'topology reshard',
  'topology definitions',
]

function parse(argv: readonly string[], env: NodeJS.ProcessEnv): 'help' | [string, Call] {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const { positionals, values } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      url: text,
      message: text,
      group: text,
      schema: text,
      prefix: text,
      id: text,
      limit: text,
      shards: text,
      'per-second': text,
      'max-replays': text,
      all: flag,
      ordered: flag,
      help: flag,
    },
  })
  if (values.help === true || positionals.length === 0) return 'help'
  const command = positionals.join(' ')
  if (!commands.includes(command)) throw new Error(`"${command}" is no command`)
  const message = /^(.+)\.v([1-9]\d*)$/.exec(values.message ?? '')
  if (message === null) throw new Error('--message must be a name and a version, such as orders.placed.v1')
  if (command === 'topology reshard' && values.shards === undefined) throw new Error('--shards is missing')
  if (values.group === undefined) throw new Error('--group is missing')
  const url = values.url ?? env['PLATFORM_QUEUE_URL'] ?? ''
  if (url === '' && command !== 'topology definitions') throw new Error('--url is missing')
  const number = (name: 'limit' | 'shards' | 'per-second' | 'max-replays'): number | undefined => {
    const given = values[name]
    if (given === undefined) return undefined
    const value = Number(given)
    if (given.trim() === '' || !Number.isFinite(value) || value <= 0) throw new Error(`--${name} must be a number above 0`)
    return value
  }
  const one = command === 'dlq show' || ((command === 'dlq replay' || command === 'dlq discard') && values.all !== true)
  if (one && values.id === undefined) throw new Error(command === 'dlq show' ? '--id is missing' : '--id or --all is missing')
  return [
    command,
    {
      url,
      name: message[1] as string,
      version: Number(message[2]),
      group: values.group,
      ordered: values.ordered ?? false,
      shards: number('shards'),
      schema: values.schema,
      prefix: values.prefix,
      id: values.id,
      all: values.all ?? false,
      limit: number('limit'),
      perSecond: number('per-second'),
      maxReplays: number('max-replays'),
    },
  ]
}
