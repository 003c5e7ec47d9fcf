import { explain } from './explain.ts'

interface Command<T> {
  readonly usage: string
  /** Throws what is wrong with the arguments. */
  readonly read: (args: string[]) => T | 'help'
  /** Answers with the exit code. */
  readonly run: (options: T, signal: AbortSignal) => Promise<number>
  /** The exit code of a run that a signal has ended. */
  readonly stopped: () => number
  readonly onSignal?: (signal: string) => void
}

/** One command of this folder from its arguments to its exit code. SIGINT and SIGTERM end it at any moment; what was started is ended in any case. */
export async function runCommand<T>({ usage, read, run, stopped, onSignal }: Command<T>): Promise<number> {
  let options: T | 'help'
  try {
    options = read(process.argv.slice(2))
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`)
    return 2
  }
  if (options === 'help') {
    console.log(usage)
    return 0
  }
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (!stop.signal.aborted) onSignal?.(signal)
      stop.abort(new Error(`stopped by ${signal}`))
    })
  }
  try {
    return await run(options, stop.signal)
  } catch (error) {
    if (stop.signal.aborted) return stopped()
    console.error(explain(error))
    return 1
  }
}
