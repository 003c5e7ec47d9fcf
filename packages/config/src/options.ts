import { knownOptions, withDeadline } from '@platform/kernel'
import { ConfigError, optionError } from './errors.ts'
import { factOf, foreignError } from './foreign-error.ts'
import type { Source } from './source.ts'

interface SecretLike {
  reveal(): string
}
/** A function is asked again for each use. */
export type Credential = string | SecretLike | (() => string | SecretLike | Promise<string | SecretLike>)

const credentialTimeoutMs = 10_000

/** Rejects with `ERR_CONFIG_SOURCE` when the user's function throws, or gives nothing for ten seconds. */
export async function revealCredential(credential: Credential): Promise<string> {
  const late = (): Error => new ConfigError('ERR_CONFIG_SOURCE', `the credential's function gave nothing for ${credentialTimeoutMs} ms`)
  if (typeof credential === 'string') return credential
  if (typeof credential !== 'function') return credential.reveal()
  try {
    const value = await withDeadline(credentialTimeoutMs, late, async () => credential())
    return typeof value === 'string' ? value : value.reveal()
  } catch (error) {
    if (ConfigError.isInstance(error)) throw error
    throw new ConfigError('ERR_CONFIG_SOURCE', `the credential's function failed${factOf(error)}`, { cause: foreignError(error) })
  }
}

export function assertCredential(option: string, credential: unknown): void {
  const isOne =
    (typeof credential === 'string' && credential !== '') ||
    typeof credential === 'function' ||
    typeof (credential as SecretLike | null | undefined)?.reveal === 'function'
  if (!isOne) throw optionError(option, 'a text, a secret or a function')
}

export interface LastKnownGoodOptions {
  /** The file. Its directory must exist. Readable for its owner only. */
  path: string
  /** What it is encrypted with; at least 16 characters. */
  key: Credential
  /** An older copy is not used, ms. */
  maxAgeMs: number
}

export interface LoadOptions {
  /** From weakest to strongest: the later one wins. Objects merge by key, lists are replaced. */
  sources: readonly Source[]
  signal?: AbortSignal | undefined
  /** Follow the sources and apply what changes. Default false. */
  watch?: boolean | undefined
  /** How long one source may take to answer, ms, at least 1. Default 10000. */
  readTimeoutMs?: number | undefined
  /** How long all listeners together may take to prepare for a change, ms, at least 1. Default 10000. */
  prepareTimeoutMs?: number | undefined
  /** How long remote sources that give nothing are tried again at the start, ms. Default 10000; 0 tries once. */
  retryMs?: number | undefined
  /** An encrypted copy of what remote sources said, for a start while they are down. Default none. */
  lastKnownGood?: LastKnownGoodOptions | undefined
}

export interface ResolvedLoadOptions {
  readonly sources: readonly Source[]
  readonly watch: boolean
  readonly readTimeoutMs: number
  readonly prepareTimeoutMs: number
  readonly retryMs: number
  readonly lastKnownGood: LastKnownGoodOptions | undefined
}

const known = ['sources', 'signal', 'watch', 'readTimeoutMs', 'prepareTimeoutMs', 'retryMs', 'lastKnownGood']
const refuse = (option: string, problem: string): ConfigError => new ConfigError('ERR_CONFIG_OPTION', `option "${option}" ${problem}`)

export function resolveLoadOptions(options: LoadOptions): ResolvedLoadOptions {
  knownOptions(refuse, '', options, known)
  const { sources, watch = false, readTimeoutMs = 10_000, prepareTimeoutMs = 10_000, retryMs = 10_000, lastKnownGood } = options
  if (!Array.isArray(sources) || !sources.every(isSource)) throw optionError('sources', 'a list of sources: [file(…), env(…)]')
  if (typeof watch !== 'boolean') throw optionError('watch', 'true or false')
  assertMs('readTimeoutMs', readTimeoutMs, 1)
  assertMs('prepareTimeoutMs', prepareTimeoutMs, 1)
  assertMs('retryMs', retryMs, 0)
  if (lastKnownGood !== undefined) {
    const { path, key, maxAgeMs } = lastKnownGood
    if (typeof path !== 'string' || path === '') throw optionError('lastKnownGood.path', 'the path of a file')
    assertCredential('lastKnownGood.key', key)
    if (!Number.isSafeInteger(maxAgeMs) || maxAgeMs < 1) throw optionError('lastKnownGood.maxAgeMs', 'whole milliseconds, at least 1')
  }
  return { sources, watch, readTimeoutMs, prepareTimeoutMs, retryMs, lastKnownGood }
}

export function assertMs(option: string, value: number, min: number): void {
  if (!Number.isSafeInteger(value) || value < min || value > 2 ** 31 - 1)
    throw optionError(option, `whole milliseconds from ${min} to 2147483647`)
}

function isSource(source: unknown): source is Source {
  return (
    typeof source === 'object' &&
    source !== null &&
    typeof (source as Source).name === 'string' &&
    typeof (source as Source).read === 'function'
  )
}
