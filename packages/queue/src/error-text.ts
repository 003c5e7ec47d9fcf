/** What was thrown may be anything: a proxy, an object whose getters throw, text that no server stores. */
function told(tell: () => string): string {
  let text: string
  try {
    text = tell()
  } catch {
    return 'an error without a text'
  }
  return (text.length > 500 ? `${text.slice(0, 499)}…` : text).toWellFormed().replaceAll('\0', '')
}

/** Its kind alone: no text of it, which may hold anything. */
export function nameOf(error: unknown): string {
  return told(() => (error instanceof Error ? String(error.name) : typeof error))
}

export function describeError(error: unknown): string {
  return told(() => (error instanceof Error ? `${error.name}: ${error.message}` : String(error)))
}
