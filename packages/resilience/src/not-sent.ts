const codes = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT'])

/** True when the error, or one of its causes, proves that the request never left: trying again cannot repeat an effect. */
export function provesNotSent(error: unknown): boolean {
  let current = error
  for (let depth = 0; depth < 5 && typeof current === 'object' && current !== null; depth++) {
    if (codes.has((current as { code?: string }).code ?? '')) return true
    current = (current as { cause?: unknown }).cause
  }
  return false
}
