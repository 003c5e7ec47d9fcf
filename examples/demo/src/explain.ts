/** What went wrong and why, without the stack: it says nothing to someone who only wants to see the store run. */
export function explain(error: unknown): string {
  if (error instanceof SuppressedError) return explain(error.suppressed)
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? error.message : `${error.message}\n  because: ${explain(error.cause)}`
}
