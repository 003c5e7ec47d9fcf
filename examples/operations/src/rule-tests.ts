import { type Situation, runbookOf } from './alert.ts'
import { alerts } from './alerts.ts'
import { day, hour, minute, writeDuration } from './clock.ts'
import { watchdog } from './rules.ts'
import { burnAlerts, type Severity, type Slo } from './slo.ts'
import { slos } from './slos.ts'

interface Expected {
  readonly exp_labels: Readonly<Record<string, string>>
  readonly exp_annotations: Readonly<Record<string, string>>
}

function test(
  name: string,
  alert: string,
  { series, afterMs }: Situation,
  expected: readonly Expected[],
  intervalMs: number = minute,
): object {
  return {
    name,
    interval: writeDuration(intervalMs),
    input_series: Object.entries(series).map(([selector, values]) => ({ series: selector, values })),
    alert_rule_test: [{ eval_time: writeDuration(afterMs), alertname: alert, exp_alerts: expected }],
  }
}

const ofAlerts = alerts.flatMap(({ name, severity, summary, fires, silent }) => [
  test(`${name} fires`, name, fires, [
    { exp_labels: { ...fires.labels, severity }, exp_annotations: { summary, runbook: runbookOf(name) } },
  ]),
  test(`${name} stays silent`, name, silent, []),
])

/** Of 1,000 requests a step, so many are bad. */
function traffic({ events }: Slo, bad: number, steps: number): Record<string, string> {
  const rate = (each: number) => `0+${each}x${steps}`
  if ('good' in events) return { [events.all]: rate(1_000), [events.good]: rate(1_000 - bad) }
  const served = events.all.replace(/}$/, ',http_response_status_code="200"}')
  return { [served]: rate(1_000 - bad), [events.bad.replace('=~"5.."', '="500"')]: rate(bad) }
}

/** The share of the budget's own rate that is burnt, and whether it fires. */
const burnCases: readonly { severity: Severity; burn: number; fires: boolean; afterMs: number; intervalMs: number }[] = [
  { severity: 'page', burn: 30, fires: true, afterMs: 2 * hour, intervalMs: minute },
  { severity: 'page', burn: 3, fires: false, afterMs: 8 * hour, intervalMs: 5 * minute },
  { severity: 'ticket', burn: 2, fires: true, afterMs: 4 * day, intervalMs: 30 * minute },
  { severity: 'ticket', burn: 0, fires: false, afterMs: 4 * day, intervalMs: 30 * minute },
]

/** One of each way of counting stands for all of them: their rules differ in names and figures. */
const examples = [slos.find(({ events }) => 'bad' in events)!, slos.find(({ events }) => 'good' in events)!]

const ofObjectives = examples.flatMap((each) =>
  burnCases.map(({ severity, burn, fires, afterMs, intervalMs }) => {
    const bad = Math.round(1_000 * (1 - each.objective) * burn)
    const { name: alert, summary } = burnAlerts[severity]
    const expected = { exp_labels: { severity, slo: each.name, job: each.job }, exp_annotations: { summary, runbook: runbookOf(alert) } }
    const situation = { series: traffic(each, bad, Math.ceil(afterMs / intervalMs)), afterMs }
    return test(`${each.name}: ${severity} at ${burn} times the budget's rate`, alert, situation, fires ? [expected] : [], intervalMs)
  }),
)

const watchdogTest = test('Watchdog always fires', watchdog.alert, { series: {}, afterMs: minute }, [
  { exp_labels: watchdog.labels, exp_annotations: { ...watchdog.annotations, runbook: runbookOf(watchdog.alert) } },
])

/** What `promtool test rules` runs: each alert once when it must fire, and once beside it. */
export function symptomTests(): object {
  return { rule_files: ['symptoms.rules.yml'], evaluation_interval: '1m', tests: [...ofAlerts, watchdogTest] }
}

/** The same of budgets. They are of days, so it looks at them more rarely. */
export function objectiveTests(): object {
  return { rule_files: ['objectives.rules.yml'], evaluation_interval: '30m', tests: ofObjectives }
}
