import { ConfigError } from './errors.ts'

const facts = ['code', 'errno', 'syscall', 'status', 'severity'] as const

/**
 * An error of a library or of a user's source, fit to be a cause: what kind it is and where it came from. Its message stays out: drivers and
 * URL parsers quote addresses with their passwords, parsers quote what they read.
 */
export function foreignError(error: unknown): Error {
  if (ConfigError.isInstance(error)) return error
  const { name, stack } = error instanceof Error ? error : { name: 'not an Error', stack: undefined }
  const safe = new Error(`${isWord(name) ? name : 'Error'}${factOf(error)} (its message is not repeated: it may hold a secret)`)
  safe.name = isWord(name) ? name : 'Error'
  const frames = typeof stack === 'string' ? stack.split('\n').filter((line) => /^ {4}at /.test(line)) : []
  safe.stack = [`${safe.name}: ${safe.message}`, ...frames].join('\n')
  for (const fact of facts) {
    const value = memberOf(error, fact)
    if (isFact(value)) Object.assign(safe, { [fact]: value })
  }
  return safe
}

/** ` ECONNREFUSED`, ` 28P01`: what a message may say of a foreign error. */
export function factOf(error: unknown): string {
  // One error for all addresses that were tried.
  const inner = error instanceof AggregateError ? (error.errors as unknown[])[0] : undefined
  const code = [memberOf(error, 'code'), memberOf(inner, 'code')].find(isFact)
  return code === undefined ? '' : ` ${code}`
}

function memberOf(error: unknown, name: string): unknown {
  try {
    return (error as Record<string, unknown> | null | undefined)?.[name]
  } catch {
    return undefined
  }
}

const isWord = (text: unknown): text is string => typeof text === 'string' && /^[A-Za-z]{1,40}$/.test(text)
const isFact = (value: unknown): value is string | number =>
  typeof value === 'number' || (typeof value === 'string' && /^[A-Z0-9_]{1,40}$/.test(value))
