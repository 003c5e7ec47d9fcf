import { parseArgs } from 'node:util'

export interface DevOptions {
  readonly mode: 'embedded' | 'native'
  /** Every request is a line of the log. */
  readonly accessLog: boolean
}

export const usage = `Usage: pnpm dev [options]
  --native        on PostgreSQL, Redis, RabbitMQ, Consul and nginx of this machine; otherwise PostgreSQL from npm is all there is
  --access-log    a line for each request`

/** Throws an error whose message names the wrong option. */
export function readDevOptions(argv: readonly string[]): DevOptions | 'help' {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      native: { type: 'boolean', default: false },
      'access-log': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  return values.help ? 'help' : { mode: values.native ? 'native' : 'embedded', accessLog: values['access-log'] }
}
