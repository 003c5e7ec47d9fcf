import { randomBytes } from 'node:crypto'
import { backgroundPause, guarded, jittered, orAborted, withDeadline } from '@platform/kernel'
import { ConfigError, optionError } from '../errors.ts'
import { factOf, foreignError } from '../foreign-error.ts'
import type { Cancellable, CredentialStore, CredentialTarget, RotatingCredential } from './contract.ts'

export interface RotationOptions {
  target: CredentialTarget
  store: CredentialStore
  /**
   * How old the credential in use must be, ms: everyone must have followed the last rotation, because the next one changes the user that
   * they used before it. Default 600000.
   */
  minimumAgeMs?: number | undefined
}

export interface Rotation {
  /** One rotation. Resolves to who is used from now on; rejects with `ERR_CONFIG_ROTATION` and then nothing was switched. */
  run(options?: Cancellable): Promise<{ username: string; previous: string | undefined }>
  /** Rotates every so often, from the age of the credential in use; after a failure again within a minute. Returns what ends it. */
  every(
    intervalMs: number,
    observe?: { done?(result: { username: string; previous: string | undefined }): void; failed?(error: unknown): void },
  ): { close(): Promise<void> }
}

/**
 * Two users take turns: the one that is not in use gets a new password, is proven, and then its name and password are written as one. The
 * one that was in use stays valid until the next rotation, so whoever has not heard yet goes on.
 */
export function createRotation(options: RotationOptions): Rotation {
  const { target, store, minimumAgeMs = 600_000 } = options
  const [first, second] = target.users
  if (typeof first !== 'string' || typeof second !== 'string' || first === second || first === '' || second === '')
    throw optionError('target.users', 'two different names')
  if (!Number.isSafeInteger(minimumAgeMs) || minimumAgeMs < 0) throw optionError('minimumAgeMs', 'whole milliseconds')

  const rotate = async (signal: AbortSignal | undefined): Promise<{ username: string; previous: string | undefined }> =>
    locked(target, async () => {
      const found = await attempt(`${store.name} could not be read`, () => store.read({ signal }))
      const ageMs = found === undefined ? Number.POSITIVE_INFINITY : Date.now() - found.writtenAt
      if (ageMs < minimumAgeMs)
        throw new ConfigError(
          'ERR_CONFIG_ROTATION',
          `${found?.username} is in use for ${Math.round(ageMs)} ms, of at least ${minimumAgeMs}`,
        )
      const username = found?.username === first ? second : first
      const next: RotatingCredential = { username, password: randomBytes(32).toString('base64url') }
      await attempt(`${username} got no new password at ${target.name}`, () => target.setPassword(next, { signal }))
      await attempt(`${target.name} does not take the new credential of ${username}`, () => target.prove(next, { signal }))
      await attempt(`${store.name} could not be written`, () => store.write(next, { signal, expected: found?.revision }))
      return { username, previous: found?.username }
    })

  return {
    run: ({ signal } = {}) => orAborted(rotate(signal), signal),
    every(intervalMs, observe = {}) {
      if (!Number.isSafeInteger(intervalMs) || intervalMs < 1 || intervalMs < minimumAgeMs)
        throw optionError('intervalMs', 'whole milliseconds, and not less than minimumAgeMs')
      const ended = new AbortController()
      const loop = async (): Promise<void> => {
        while (!ended.signal.aborted) {
          let waitMs = Math.min(intervalMs, jittered(60_000))
          try {
            const found = await attempt(`${store.name} could not be read`, () => store.read({ signal: ended.signal }))
            const leftMs = found === undefined ? 0 : found.writtenAt + intervalMs - Date.now()
            if (leftMs > 0) waitMs = leftMs
            else {
              const result = await rotate(ended.signal)
              guarded(() => observe.done?.(result))
              waitMs = intervalMs
            }
          } catch (error) {
            if (ended.signal.aborted) return
            guarded(() => observe.failed?.(error))
          }
          await backgroundPause(waitMs, ended.signal)
        }
      }
      const done = loop()
      return {
        close() {
          ended.abort(new Error('the schedule was ended'))
          return done
        },
      }
    },
  }
}

/** Longer than each of our own targets and stores takes at most. */
const stepTimeoutMs = 60_000

/** One step, in our words: the errors of drivers quote statements, addresses and what stands in them. */
async function attempt<T>(what: string, work: () => Promise<T>): Promise<T> {
  const late = (): Error => new ConfigError('ERR_CONFIG_ROTATION', `no answer within ${stepTimeoutMs} ms`)
  try {
    return await withDeadline(stepTimeoutMs, late, work)
  } catch (cause) {
    throw failure(what, cause)
  }
}

function failure(what: string, cause: unknown): ConfigError {
  const why = ConfigError.isInstance(cause) ? `: ${cause.message}` : factOf(cause) && ` (${factOf(cause).trim()})`
  return new ConfigError('ERR_CONFIG_ROTATION', what + why, { cause: foreignError(cause) })
}

/** Whatever happens before the work has begun is about the lock. */
async function locked<T>(target: CredentialTarget, work: () => Promise<T>): Promise<T> {
  let began = false
  try {
    return await target.exclusively(() => {
      began = true
      return work()
    })
  } catch (cause) {
    if (ConfigError.isInstance(cause) && (began || cause.code === 'ERR_CONFIG_ROTATION')) throw cause
    throw failure(`${target.name} did not let ${target.users.join(' and ')} be locked for a rotation`, cause)
  }
}

/** What a target says when somebody else rotates. */
export function alreadyRotating(users: readonly string[]): ConfigError {
  return new ConfigError('ERR_CONFIG_ROTATION', `another rotation of ${users.join(' and ')} is under way`)
}
