import { alertRule, runbookOf } from './alert.ts'
import { alerts } from './alerts.ts'
import type { Clock } from './clock.ts'
import type { Receiver } from './routing.ts'
import type { AlertingRule, Rule, RuleGroup } from './rule-file.ts'
import { burnAlerts, sloRules } from './slo.ts'
import { slos } from './slos.ts'

/** It always fires: who hears nothing of it any more has lost the watch itself. */
export const watchdog: AlertingRule = {
  alert: 'Watchdog',
  expr: 'vector(1)',
  labels: { severity: 'watchdog' },
  annotations: { summary: 'The watch works; when this stops, it does not' },
}

export interface RuleFile {
  readonly groups: readonly RuleGroup[]
}

/** `objectives.rules.yml` at the speed of a clock. */
export function objectiveRules(clock: Clock): RuleFile {
  return { groups: slos.map((each) => ({ name: each.name, rules: sloRules(each, clock).map(withRunbook) })) }
}

/** `symptoms.rules.yml` at the speed of a clock. */
export function symptomRules(clock: Clock): RuleFile {
  return { groups: [{ name: 'symptoms', rules: [...alerts.map((each) => alertRule(each, clock)), watchdog].map(withRunbook) }] }
}

function withRunbook(rule: Rule): Rule {
  return 'alert' in rule ? { ...rule, annotations: { ...rule.annotations, runbook: runbookOf(rule.alert) } } : rule
}

/** Every alert, and who hears of it. */
export const alertReceivers: ReadonlyMap<string, Receiver> = new Map<string, Receiver>([
  ...alerts.map(({ name, severity }) => [name, severity] as const),
  ...(['page', 'ticket'] as const).map((severity) => [burnAlerts[severity].name, severity] as const),
  [watchdog.alert, 'watchdog'],
])

export const alertNames: readonly string[] = [...alertReceivers.keys()]
