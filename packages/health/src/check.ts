/** Healthy: resolves. Usable but not well: resolves to a warning. Otherwise rejects. The signal aborts at the check's timeout and at close. */
export type CheckRun = (options?: { signal?: AbortSignal }) => Promise<void | { status: 'warn'; message: string }>

export type CheckKind = 'critical' | 'shared' | 'optional'

export interface Check {
  run: CheckRun
  /**
   * critical: readiness fails with it. shared: every replica has the same dependency, so readiness only warns (otherwise all would leave
   * together). optional: shown, without effect.
   */
  kind: CheckKind
  /** Pause between two runs, ±10 % jitter. Default 5 000; at least 10. */
  intervalMs?: number | undefined
  /** One run. Default 2 000; at least 1. */
  timeoutMs?: number | undefined
  /** Good results in a row before a failing check counts as good again. Default 1. */
  rise?: number | undefined
  /** Bad results in a row before a good check counts as failing. Default 3. The very first result counts at once. */
  fall?: number | undefined
}

export type Status = 'pass' | 'warn' | 'fail'

/** The only texts a probe shows: what a check throws may name hosts, users and queries, so it goes to the log alone. */
export const messages = {
  unknown: 'not checked yet',
  failed: 'check failed',
  timeout: 'check timed out',
  degraded: 'usable, not well',
  falling: 'failing, not yet often enough to count',
  rising: 'recovering, not yet often enough to count',
  stale: 'result is stale',
  silent: 'no sign of life',
} as const

export interface CheckReport {
  readonly status: Status
  /** Time since the last finished run; since creation when there was none. */
  readonly ageMs: number
  /** One of a fixed list. */
  readonly message?: string
}

export interface Report {
  readonly status: Status
  readonly checks: Readonly<Record<string, CheckReport>>
}
