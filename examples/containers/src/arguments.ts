import { parseArgs } from 'node:util'

/** How a store is started; a store that runs keeps them, and every other command finds them by itself. */
const variants = ['ha', 'tls', 'logs'] as const
const starts = ['no-build', 'inspect', 'metrics', 'grafana', ...variants] as const

interface Command {
  readonly switches: readonly Switch[]
  /** Words after it. Default: none. */
  readonly words?: 'one' | 'any'
}

const switches = {
  'no-build': { type: 'boolean', default: false },
  inspect: { type: 'boolean', default: false },
  ha: { type: 'boolean', default: false },
  tls: { type: 'boolean', default: false },
  logs: { type: 'boolean', default: false },
  metrics: { type: 'boolean', default: false },
  grafana: { type: 'boolean', default: false },
  volumes: { type: 'boolean', short: 'v', default: false },
  image: { type: 'string' },
  to: { type: 'string' },
  version: { type: 'string' },
  gateway: { type: 'string' },
  registry: { type: 'string' },
  stack: { type: 'string' },
  plain: { type: 'boolean', default: false },
} as const
export type Switch = keyof typeof switches

/** Every command, and the switches that it knows: one that it would not heed is refused. */
export const commands: Readonly<Record<string, Command>> = {
  up: { switches: starts },
  build: { switches: variants },
  down: { switches: ['volumes', ...variants] },
  status: { switches: variants },
  logs: { switches: variants, words: 'any' },
  compose: { switches: [], words: 'any' },
  ask: { switches: variants, words: 'any' },
  doctor: { switches: starts },
  rollout: { switches: ['image', 'no-build', ...variants], words: 'one' },
  backup: { switches: variants },
  restore: { switches: ['to', ...starts] },
  rotate: { switches: variants },
  certificates: { switches: variants },
  deploy: { switches: ['version', 'registry', 'stack', 'gateway'] },
  push: { switches: ['version', 'registry', 'plain'] },
  'rehearse-stack': { switches: [] },
  slo: { switches: variants },
  rehearse: { switches: ['no-build'], words: 'any' },
  dev: { switches: starts },
}

type Text = 'image' | 'to' | 'version' | 'gateway' | 'registry' | 'stack'
type Values = Readonly<Record<Exclude<Switch, Text>, boolean> & Partial<Record<Text, string>>>

const read = (args: string[]) =>
  parseArgs({ args, allowPositionals: true, options: { ...switches, help: { type: 'boolean', short: 'h', default: false } } })

export interface Given {
  readonly command: string
  readonly words: readonly string[]
  readonly values: Values
}

/** What the command line asks for; `help` when it asks for that. Throws what is wrong with it. */
export function readArguments(args: readonly string[]): Given | 'help' {
  // Everything behind it is for Compose.
  if (args[0] === 'compose') return { command: 'compose', words: args.slice(1), values: read([]).values }
  const { values, positionals } = read([...args])
  const [name, ...words] = positionals
  if (values.help || name === undefined) return 'help'
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (command === undefined) throw new Error(`there is no command ${name}`)
  const unheeded = Object.entries(values).filter(
    ([key, value]) => value !== (switches[key as Switch] as { default?: unknown } | undefined)?.default && key !== 'help',
  )
  const unknown = unheeded.map(([key]) => key).filter((key) => !command.switches.includes(key as Switch))
  if (unknown.length > 0) throw new Error(`${name} knows no ${unknown.map((key) => `--${key}`).join(', ')}`)
  if (command.words === undefined && words.length > 0) throw new Error(`${name} takes nothing more: ${words.join(' ')}`)
  if (command.words === 'one' && words.length !== 1) throw new Error(`${name} takes one name, not ${words.length}`)
  return { command: name, words, values }
}
