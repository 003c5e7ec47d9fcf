import type { Clock } from './clock.ts'
import type { Rule } from './rule-file.ts'
import type { Severity } from './slo.ts'

/** Series by selector, in promtool's notation at one sample a minute, and when to look. */
export interface Situation {
  readonly series: Readonly<Record<string, string>>
  readonly afterMs: number
}

/** Something that hurts, or will soon. */
export interface Alert {
  readonly name: string
  readonly severity: Severity
  readonly summary: string
  /** What must not be the case. Spans of time go through the clock, and so does what gathers in them. */
  readonly expr: (clock: Clock) => string
  /** How long it must be the case before anybody is told. */
  readonly forMs: number
  /** When it fires, with which labels beside its severity, and a neighbouring situation in which it must not. */
  readonly fires: Situation & { readonly labels: Readonly<Record<string, string>> }
  readonly silent: Situation
}

export function alertRule({ name, severity, summary, expr, forMs }: Alert, clock: Clock): Rule {
  return {
    alert: name,
    expr: expr(clock),
    ...(forMs > 0 && { for: clock.duration(forMs) }),
    labels: { severity },
    annotations: { summary },
  }
}

/** The page's anchor: `QueueGrows` is found at `#queuegrows`. */
export const runbookPage = 'docs/operations/runbooks.md'
export const runbookOf = (alert: string): string => `${runbookPage}#${alert.toLowerCase()}`
