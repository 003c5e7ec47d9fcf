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
  /** `container`: the official image, whatever is in the environment and on the machine. Default: as found, see the README. */
  source?: 'container' | undefined
  /** Another tag than the pinned one, `redis:8.2`; means `source: 'container'`. */
  image?: string | undefined
}

export interface ResolvedStartOptions {
  signal: AbortSignal | undefined
  onProgress: (line: string) => void
  fresh: boolean
  port: number | undefined
  startTimeoutMs: number
  stopTimeoutMs: number
  source: Source | undefined
  image: string | undefined
}

/** Only PostgreSQL has them all. */
export type Source = 'embedded' | 'machine' | 'container'

type AnySource = Omit<StartOptions, 'source'> & { source?: Source | undefined }

const names = ['signal', 'onProgress', 'fresh', 'port', 'startTimeoutMs', 'stopTimeoutMs', 'source', 'image']
/** No leading hyphen: it would be an option of the engine's client. */
const imageName = /^[a-z0-9][\w./:@-]*$/i

/** `extra` names the options that only this server has; whoever passes it checks them. */
export function resolveStartOptions(
  options: AnySource,
  extra: string[] = [],
  sources: readonly Source[] = ['container'],
): ResolvedStartOptions {
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
  const { image } = options
  if (image !== undefined && (typeof image !== 'string' || !imageName.test(image))) throw wrong('image', 'must be the name of an image')
  const { source = image === undefined ? undefined : 'container' } = options
  if (source !== undefined && !sources.includes(source)) throw wrong('source', `must be ${sources.map((each) => `'${each}'`).join(' or ')}`)
  if (image !== undefined && source !== 'container') throw wrong('image', "needs source: 'container'")
  return { signal, onProgress, fresh: fresh || source === 'container', port, startTimeoutMs, stopTimeoutMs, source, image }
}

export function wrong(option: string, rule: string): StackError {
  return new StackError('ERR_STACK_OPTION', `option ${option} ${rule}`, { option })
}

function checkInteger(name: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) throw wrong(name, `must be a whole number from ${min} to ${max}`)
}
