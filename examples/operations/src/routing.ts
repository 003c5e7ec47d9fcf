import { type Clock, day, hour, minute } from './clock.ts'

/** Who is told: a person at once, the queue of tickets, the dead man's switch. */
export const receivers = ['page', 'ticket', 'watchdog'] as const
export type Receiver = (typeof receivers)[number]

/** `alertmanager.yml`. */
export function alertmanagerConfig({ duration }: Clock): object {
  return {
    route: {
      receiver: 'ticket',
      group_by: ['alertname', 'job'],
      group_wait: duration(minute),
      group_interval: duration(5 * minute),
      repeat_interval: duration(day),
      routes: [
        { matchers: ['severity="page"'], receiver: 'page', group_wait: duration(minute / 4), repeat_interval: duration(hour) },
        { matchers: ['severity="watchdog"'], receiver: 'watchdog', group_wait: '0s', repeat_interval: duration(5 * minute) },
      ],
    },
    // Whoever has been woken for a service needs no ticket about it.
    inhibit_rules: [{ source_matchers: ['severity="page"'], target_matchers: ['severity="ticket"'], equal: ['job'] }],
    receivers: receivers.map((name) => ({ name })),
  }
}

/** Labels of an alert and who must hear of it; `amtool config routes test` runs them. */
export const routeTests: readonly { readonly labels: Readonly<Record<string, string>>; readonly to: Receiver }[] = [
  { labels: { alertname: 'ServerDown', severity: 'page', job: 'postgres' }, to: 'page' },
  { labels: { alertname: 'ErrorBudgetBurnsFast', severity: 'page', job: 'orders-api', slo: 'orders-api-availability' }, to: 'page' },
  { labels: { alertname: 'DeadLetters', severity: 'ticket', job: 'orders-api' }, to: 'ticket' },
  { labels: { alertname: 'SomethingNew' }, to: 'ticket' },
  { labels: { alertname: 'Watchdog', severity: 'watchdog' }, to: 'watchdog' },
]
