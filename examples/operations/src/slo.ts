import { type Clock, day, hour, minute, writeDuration } from './clock.ts'
import type { Rule } from './rule-file.ts'

/** What users may expect, and by which events it is judged. */
export interface Slo {
  readonly name: string
  readonly title: string
  /** The service whose events are counted. */
  readonly job: string
  /** The share of events that must be good over 30 days, between 0 and 1. */
  readonly objective: number
  /** Counters, as selectors of PromQL: all events, and those that were bad or those that were good. */
  readonly events: { readonly all: string; readonly bad: string } | { readonly all: string; readonly good: string }
  /** Below so many events in the longer window nobody is woken: one failure of three is no outage. Default 10. */
  readonly minimumEvents?: number
}

export function slo(made: Slo): Slo {
  if (!(made.objective > 0 && made.objective < 1))
    throw new RangeError(`objective of ${made.name}: a share between 0 and 1, not ${made.objective}`)
  return made
}

/** `page`: somebody acts now. `ticket`: somebody acts in the next days. */
export type Severity = 'page' | 'ticket'

/** Pairs of windows and how fast the month's budget burns in them: https://sre.google/workbook/alerting-on-slos/ */
const burns: Readonly<Record<Severity, readonly { readonly long: number; readonly short: number; readonly factor: number }[]>> = {
  page: [
    { long: hour, short: 5 * minute, factor: 14.4 },
    { long: 6 * hour, short: 30 * minute, factor: 6 },
  ],
  ticket: [
    { long: day, short: 2 * hour, factor: 3 },
    { long: 3 * day, short: 6 * hour, factor: 1 },
  ],
}

export const burnAlerts = {
  page: { name: 'ErrorBudgetBurnsFast', summary: 'The error budget of a month will be gone within days' },
  ticket: { name: 'ErrorBudgetBurnsSlowly', summary: 'The error budget of a month will be gone before its end' },
} as const

const windows = [...new Set(Object.values(burns).flatMap((pairs) => pairs.flatMap(({ long, short }) => [long, short])))].toSorted(
  (a, b) => a - b,
)
const ratio = (window: number) => `slo:error_ratio:rate${writeDuration(window)}`
const eventCount = (window: number) => `slo:events:increase${writeDuration(window)}`

/** The share of bad events over a window of PromQL; nothing where there were no events. */
export function errorRatio({ events }: Slo, window: string): string {
  const all = `sum(rate(${events.all}[${window}]))`
  if ('good' in events) return `1 - sum(rate(${events.good}[${window}])) / (${all} > 0)`
  return `(sum(rate(${events.bad}[${window}])) or 0 * ${all}) / (${all} > 0)`
}

/** Recorded under the same names whatever the clock, so that alerts and panels are the same. */
export function sloRules(of: Slo, clock: Clock): Rule[] {
  const labels = { slo: of.name, job: of.job }
  const long = Object.values(burns).flatMap((pairs) => pairs.map((pair) => pair.long))
  return [
    ...windows.map((window) => ({ record: ratio(window), expr: errorRatio(of, clock.duration(window)), labels })),
    ...long.map((window) => ({ record: eventCount(window), expr: `sum(increase(${of.events.all}[${clock.duration(window)}]))`, labels })),
    ...(['page', 'ticket'] as const).map((severity) => burnAlert(of, severity)),
  ]
}

function burnAlert({ name, job, objective, minimumEvents = 10 }: Slo, severity: Severity): Rule {
  const matching = `{slo=${JSON.stringify(name)}}`
  const pairs = burns[severity].map(({ long, short, factor }) => {
    const limit = `${factor} * ${Number((1 - objective).toPrecision(6))}`
    const above = [long, short].map((window) => `${ratio(window)}${matching} > ${limit}`)
    return `(${[...above, `${eventCount(long)}${matching} > ${minimumEvents}`].join(' and ')})`
  })
  return {
    alert: burnAlerts[severity].name,
    expr: pairs.join(' or '),
    labels: { severity, slo: name, job },
    annotations: { summary: burnAlerts[severity].summary },
  }
}
