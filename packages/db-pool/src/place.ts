/** Where a connection was borrowed. */
export interface Trace {
  readonly stack?: string
}

/** The place that called `entry`, which is one of ours. */
export function traceBefore(entry: (...facts: never[]) => unknown): Trace {
  const trace: Trace = {}
  Error.captureStackTrace(trace, entry)
  return trace
}

/** Where the pool has the connection. */
export type Place =
  | { readonly in: 'idle'; readonly since: number }
  | { readonly in: 'check' }
  | { readonly in: 'use'; readonly since: number; readonly trace: Trace | undefined; told?: true }
  | { readonly in: 'gone' }
