import { StackError } from './errors.ts'

export interface StartOptions {
  /** Gives up the start and cleans up; the promise rejects with the signal's own reason. */
  signal?: AbortSignal | undefined
  /** Takes one line for each thing that takes long or changes the machine (an installation). Default: nothing is printed. */
  onProgress?: ((line: string) => void) | undefined
  /** Starts a server of one's own even when the environment names one. Default false. */
  fresh?: boolean | undefined
  /** 1 to 65535. Default: a free one. */
  port?: number | undefined
  /** Until the server must answer, installation not counted; 100 to 600,000. Default 60,000. */
  startTimeoutMs?: number | undefined
  /** How long a clean stop may take before the server is killed; 0 to 600,000. Default 10,000. */
  stopTimeoutMs?: number | undefined
}

export interface ResolvedStartOptions {
  signal: AbortSignal | undefined
  onProgress: (line: string) => void
  fresh: boolean
  port: number | undefined
  startTimeoutMs: number
  stopTimeoutMs: number
}

const names = ['signal', 'onProgress', 'fresh', 'port', 'startTimeoutMs', 'stopTimeoutMs']

/** `extra` names the options that only this server has; whoever passes it checks them. */
export function resolveStartOptions(options: StartOptions, extra: string[] = []): ResolvedStartOptions {
  for (const name of Object.keys(options)) {
    if (!names.includes(name) && !extra.includes(name)) throw wrong(name, 'is not an option')
  }
  const { signal, onProgress = () => {}, fresh = false, port, startTimeoutMs = 60_000, stopTimeoutMs = 10_000 } = options
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw wrong('signal', 'must be an AbortSignal')
  if (typeof onProgress !== 'function') throw wrong('onProgress', 'must be a function')
  if (typeof fresh !== 'boolean') throw wrong('fresh', 'must be a boolean')
  if (port !== undefined) checkInteger('port', port, 1, 65_535)
  checkInteger('startTimeoutMs', startTimeoutMs, 100, 600_000)
  checkInteger('stopTimeoutMs', stopTimeoutMs, 0, 600_000)
  return { signal, onProgress, fresh, port, startTimeoutMs, stopTimeoutMs }
}

export function wrong(option: string, rule: string): StackError {
  return new StackError('ERR_STACK_OPTION', `option ${option} ${rule}`, { option })
}

function checkInteger(name: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) throw wrong(name, `must be a whole number from ${min} to ${max}`)
}
