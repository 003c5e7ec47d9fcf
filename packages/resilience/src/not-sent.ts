import { isLocalRejection } from './errors.ts'

/** Codes that mean: no connection was made. Of a connection in use the same code would come from `read` or `write` and prove nothing. */
const unconnected = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
])
/** Those that a connection in use can have as well: the error must name the call. */
const ambiguous = new Set(['EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT'])
const connecting = new Set<unknown>(['connect', 'getaddrinfo'])

/** True when the error, or one of its causes, proves that the request never left: trying again cannot repeat an effect. */
export function provesNotSent(error: unknown): boolean {
  let current = error
  for (let depth = 0; depth < 5 && typeof current === 'object' && current !== null; depth++) {
    if (provesByItself(current)) return true
    current = (current as { cause?: unknown }).cause
  }
  return false
}

function provesByItself(error: object): boolean {
  if (isLocalRejection(error)) return true
  // One for each address that was tried.
  const { errors } = error as { errors?: unknown }
  if (error instanceof AggregateError && Array.isArray(errors) && errors.length > 0) return errors.every(provesNotSent)
  const { code, syscall } = error as { code?: unknown; syscall?: unknown }
  if (typeof code !== 'string' || !unconnected.has(code)) return false
  return connecting.has(syscall) || (syscall === undefined && !ambiguous.has(code))
}
