import type { Config } from './config.ts'

/** Reloads at each SIGHUP, or another signal, until the function that it returns is called. Without it SIGHUP ends a process. */
export function reloadOnSignal(config: Pick<Config<unknown>, 'reload'>, signal: NodeJS.Signals = 'SIGHUP'): () => void {
  const onSignal = (): void => void config.reload().catch(() => {})
  process.on(signal, onSignal)
  return () => void process.off(signal, onSignal)
}
