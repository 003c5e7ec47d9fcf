import { isStorableText } from '@platform/kernel'
import { wrongOption } from './errors.ts'

const escape = '~u16:'
const escapeStart = escape.charCodeAt(0)

/** A name of 1024 characters in its escaped form, with room. */
const maxSafeLength = 4_096

/** What other processes and databases hand in as a name: of any version of this package, or of nobody. */
export function isSafeName(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= maxSafeLength && isStorableText(value)
}

/** Only such a key may be looked up without `safeName`. */
export function mayBeEscaped(name: string): boolean {
  return name.charCodeAt(0) === escapeStart
}

/**
 * The one form in which a key or tag is known inside: well-formed Unicode without NUL, as Redis, jsonb, NOTIFY and Lua take it. Nearly every name is
 * its own safe form; what is not (half a surrogate pair, a NUL) is escaped, so that a key cut out of a user's text works like any other. Distinct
 * names stay distinct.
 */
export function safeName(kind: 'key' | 'tag', name: string): string {
  if (typeof name !== 'string' || name.length === 0 || name.length > 1024)
    throw wrongOption(`a ${kind}`, 'must be a string of 1 to 1024 characters')
  if (isStorableText(name) && !name.startsWith(escape)) return name
  return escape + Buffer.from(name, 'utf16le').toString('base64url')
}

export function safeNames(kind: 'key' | 'tag', names: readonly string[]): readonly string[] {
  if (!Array.isArray(names)) throw wrongOption(`the ${kind}s`, 'must be a list')
  return names.map((name) => safeName(kind, name))
}
