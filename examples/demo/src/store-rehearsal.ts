import { parseArgs } from 'node:util'
import { runCommand } from './command.ts'

export interface RehearsalOptions {
  readonly build: boolean
  /** A file for what was measured. */
  readonly json: string | undefined
}

const startedAt = performance.now()
export const say = (line: string): void => console.log(`[${((performance.now() - startedAt) / 1000).toFixed(1).padStart(5)} s] ${line}`)
export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

/** A command that hurts a store of its own and compares its books: 0 when they hold, 1 when not. */
export async function rehearseStore(
  usage: string,
  rehearse: (options: RehearsalOptions, signal: AbortSignal) => Promise<boolean>,
): Promise<void> {
  process.exitCode = await runCommand({
    usage,
    read: readOptions,
    run: async (options, signal) => ((await rehearse(options, signal)) ? 0 : 1),
    stopped: () => {
      console.error('Stopped; everything that was started is gone.')
      return 130
    },
    onSignal: (signal) => say(`${signal}: cleaning up`),
  })
}

function readOptions(args: string[]): RehearsalOptions | 'help' {
  const { values } = parseArgs({
    args,
    options: { 'no-build': { type: 'boolean' }, json: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  })
  return values.help ? 'help' : { build: !values['no-build'], json: values.json }
}
