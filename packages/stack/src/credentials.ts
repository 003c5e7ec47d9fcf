import { randomBytes } from 'node:crypto'
import { knownOptions } from '@platform/kernel'
import { wrong } from './options.ts'

export interface Credentials {
  /** Default `platform`. */
  user?: string | undefined
  /** Default: drawn at random. */
  password?: string | undefined
}

export interface ResolvedCredentials {
  user: string
  password: string
}

/** They stand unescaped in URLs, settings files and command lines. */
const plain = /^[\w.~-]{1,128}$/
const fields = ['user', 'password'] as const

export function resolveCredentials(
  options: Credentials | undefined,
  known: readonly (typeof fields)[number][] = fields,
): ResolvedCredentials {
  const given = options ?? {}
  knownOptions(wrong, 'credentials', given, known)
  for (const field of known) {
    const value = given[field]
    if (value === undefined) continue
    if (typeof value !== 'string' || !plain.test(value)) {
      throw wrong(`credentials.${field}`, 'must be 1 to 128 letters, digits, dots, hyphens, underscores or tildes')
    }
  }
  return { user: given.user ?? 'platform', password: given.password ?? randomBytes(12).toString('hex') }
}
