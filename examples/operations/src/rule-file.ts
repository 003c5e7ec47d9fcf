import { stringify } from 'yaml'

type Labels = Readonly<Record<string, string>>

export interface RecordingRule {
  readonly record: string
  readonly expr: string
  readonly labels?: Labels
}

export interface AlertingRule {
  readonly alert: string
  readonly expr: string
  readonly for?: string
  readonly labels: Labels
  readonly annotations: Labels
}

/** As Prometheus reads it. */
export type Rule = RecordingRule | AlertingRule

export interface RuleGroup {
  readonly name: string
  readonly rules: readonly Rule[]
}

const head = '# Written by `node scripts/check-generated.ts --write` from examples/operations; not by hand.\n'

/** A file of any of these programs, without line breaks inside expressions. */
export function yamlFile(content: object): string {
  return head + stringify(content, { lineWidth: 0, aliasDuplicateObjects: false })
}
