import { choiceOption, functionOption, guarded, integerOption, knownOptions } from '@platform/kernel'
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
  /**
   * Whether a server that is not here may be brought here: its image pulled, its package installed from the distribution. Default: whether
   * PLATFORM_STACK_INSTALL is 1.
   */
  install?: boolean | undefined
}

/** Set to 1 it lets every start of this process and its children bring servers here. */
export const installVariable = 'PLATFORM_STACK_INSTALL'

export interface ResolvedStartOptions {
  signal: AbortSignal | undefined
  onProgress: (line: string) => void
  fresh: boolean
  port: number | undefined
  startTimeoutMs: number
  stopTimeoutMs: number
  source: Source | undefined
  image: string | undefined
  install: boolean
}

/** Only PostgreSQL has them all. */
export type Source = 'embedded' | 'machine' | 'container'

type AnySource = Omit<StartOptions, 'source'> & { source?: Source | undefined }

const names = ['signal', 'onProgress', 'fresh', 'port', 'startTimeoutMs', 'stopTimeoutMs', 'source', 'image', 'install']
/** No leading hyphen: it would be an option of the engine's client. */
const imageName = /^[a-z0-9][\w./:@-]*$/i

/** `extra` names the options that only this server has; whoever passes it checks them. */
export function resolveStartOptions(
  options: AnySource,
  extra: readonly string[] = [],
  sources: readonly Source[] = ['container'],
): ResolvedStartOptions {
  if (process.platform === 'win32') {
    throw new StackError('ERR_STACK_PLATFORM', 'servers are started on Linux and macOS only; on Windows use WSL')
  }
  knownOptions(refuse, '', options, [...names, ...extra])
  const { signal, onProgress = () => {}, fresh = false, port, startTimeoutMs = 60_000, stopTimeoutMs = 10_000, image } = options
  const { install = process.env[installVariable] === '1' } = options
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw wrong('signal', 'must be an AbortSignal')
  functionOption(refuse, 'onProgress', onProgress)
  booleanOption('fresh', fresh)
  booleanOption('install', install)
  if (port !== undefined) integerOption(refuse, 'port', port, 1, 65_535)
  integerOption(refuse, 'startTimeoutMs', startTimeoutMs, 100, 600_000)
  integerOption(refuse, 'stopTimeoutMs', stopTimeoutMs, 0, 600_000)
  if (image !== undefined && (typeof image !== 'string' || !imageName.test(image))) throw wrong('image', 'must be the name of an image')
  const { source = image === undefined ? undefined : 'container' } = options
  if (source !== undefined) choiceOption(refuse, 'source', source, sources)
  if (image !== undefined && source !== 'container') throw wrong('image', "needs source: 'container'")
  const report = (line: string) => {
    guarded(() => onProgress(line))
  }
  return { signal, onProgress: report, fresh: fresh || source === 'container', port, startTimeoutMs, stopTimeoutMs, source, image, install }
}

export function booleanOption(name: string, value: unknown): void {
  if (typeof value !== 'boolean') throw wrong(name, 'must be a boolean')
}

/** Settings of a server, `{ name: value }`; `ours` are those without which it would not be the server that the handle describes. */
export function settingsOption(value: unknown, ours: readonly string[]): Record<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('settings', 'must be an object of texts')
  for (const [name, text] of Object.entries(value)) {
    if (!/^[\w.-]+$/.test(name)) throw wrong('settings', 'has a name that no setting has')
    if (ours.includes(name)) throw wrong(`settings.${name}`, 'cannot be changed: the handle speaks of it')
    if (typeof text !== 'string' || text.includes('\0')) throw wrong(`settings.${name}`, 'must be a text')
  }
  return value as Record<string, string>
}

const refuse = (option: string, problem: string) => wrong(option, problem)

export function wrong(option: string, rule: string): StackError {
  return new StackError('ERR_STACK_OPTION', `option ${option} ${rule}`, { option })
}
