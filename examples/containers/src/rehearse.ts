import { setTimeout as pause } from 'node:timers/promises'
import { compose, type ComposeProject } from '@platform/stack/compose'
import { firing, type Labels } from './alertmanager.ts'
import { customers, type Customers } from './customers.ts'
import { lockOrders } from './locked-orders.ts'

/** A failure and the alerts that must follow from it. */
interface Failure {
  readonly what: string
  /** Labels of each alert, and who must be told. */
  readonly alerts: readonly { readonly labels: Labels & { readonly alertname: string }; readonly to: string }[]
  /** Breaks something; resolves with what mends it. */
  readonly inject: (store: Rehearsed) => Promise<() => Promise<unknown>>
}

interface Rehearsed {
  readonly customers: Customers
  readonly compose: (...args: string[]) => Promise<string>
}

/** What became of an alert. */
export interface Rehearsal {
  readonly failure: string
  readonly alert: string
  readonly firedMs?: number
  readonly receivers: readonly string[]
  readonly resolvedMs?: number
  readonly fault?: string
}

/** How long an alert may take to fire, or to resolve. */
const withinMs = 180_000

/** A message that no contract describes, from inside, as the service itself is connected. */
const poison = `
const { connect } = require('/repo/packages/node_modules/amqplib')
const { readFileSync } = require('node:fs')
connect(readFileSync('/run/secrets/fulfilment_queue_url', 'utf8')).then(async (connection) => {
  const channel = await connection.createConfirmChannel()
  channel.publish('platform/orders.placed.v1', '', Buffer.from('no order'))
  await channel.waitForConfirms()
  await connection.close()
})`

const failures: readonly Failure[] = [
  {
    what: 'nobody fulfils orders',
    alerts: [
      { labels: { alertname: 'ServiceDown', job: 'fulfilment-worker' }, to: 'page' },
      { labels: { alertname: 'QueueGrows', queue: 'platform/orders.placed.v1/fulfilment' }, to: 'page' },
    ],
    async inject({ compose: run, customers: { order } }) {
      await run('stop', 'fulfilment-worker')
      await order(30)
      return () => run('start', 'fulfilment-worker')
    },
  },
  {
    what: 'a message that nobody understands',
    alerts: [{ labels: { alertname: 'DeadLetters', job: 'fulfilment-worker' }, to: 'ticket' }],
    async inject({ compose: run }) {
      await run('exec', '-T', 'fulfilment-worker', 'node', '-e', poison)
      return async () => {}
    },
  },
  {
    what: 'the broker is gone',
    alerts: [
      { labels: { alertname: 'ServerDown', job: 'rabbitmq' }, to: 'page' },
      { labels: { alertname: 'OutboxLags', job: 'orders-api' }, to: 'page' },
    ],
    async inject({ compose: run, customers: { order } }) {
      await run('kill', 'rabbitmq')
      await order(5)
      return () => run('start', 'rabbitmq')
    },
  },
  {
    what: 'there was no backup for two days',
    alerts: [{ labels: { alertname: 'BackupOld', part: 'postgres' }, to: 'page' }],
    async inject({ compose: run }) {
      await run('exec', '-T', 'backup', 'backup', 'record', 'postgres', String(Math.floor(Date.now() / 1000) - 2 * 86_400))
      return () => run('exec', '-T', 'backup', 'backup', 'now')
    },
  },
  {
    what: 'the database is locked',
    alerts: [
      { labels: { alertname: 'PoolExhausted', job: 'orders-api' }, to: 'page' },
      { labels: { alertname: 'ErrorBudgetBurnsFast', slo: 'orders-api-availability' }, to: 'page' },
    ],
    inject: ({ compose: run, customers: { order } }) => lockOrders({ compose: run, order, lastsMs: 2 * withinMs }),
  },
]

export interface Rehearsing {
  readonly project: ComposeProject
  readonly shopUrl: string
  readonly alertmanagerUrl: string
  readonly onProgress: (line: string) => void
  readonly signal?: AbortSignal
}

/** Breaks a running store whose watch runs at a sixtieth, and sees each alert fire, find its receiver and resolve. */
export async function rehearse({ project, shopUrl, alertmanagerUrl, onProgress, signal }: Rehearsing): Promise<Rehearsal[]> {
  await using store = await customers(shopUrl)
  const stage: Rehearsed = { customers: store, compose: (...args) => compose(project, ...args) }
  // As long as the longest of the short windows, so that every rate has a past.
  await pause(35_000, undefined, { signal })
  const rehearsals: Rehearsal[] = [await watchdog(alertmanagerUrl)]
  for (const failure of failures) {
    signal?.throwIfAborted()
    onProgress(failure.what)
    rehearsals.push(...(await rehearseOne(failure, stage, alertmanagerUrl)))
    for (const { alert, firedMs, receivers, resolvedMs, fault } of rehearsals.slice(-failure.alerts.length))
      onProgress(
        fault
          ? `FAIL ${alert}: ${fault}`
          : ` ok  ${alert}: after ${seconds(firedMs!)}, to ${receivers.join()}, resolved ${seconds(resolvedMs!)} after the mending`,
      )
  }
  return rehearsals
}

/** What could not be broken, or not be mended, is a fault of each of its alerts. */
async function rehearseOne({ what, alerts, inject }: Failure, stage: Rehearsed, alertmanagerUrl: string): Promise<Rehearsal[]> {
  try {
    const injectedAt = performance.now()
    const mend = await inject(stage)
    const fired = await Promise.all(alerts.map((each) => firesAt(alertmanagerUrl, each.labels)))
    await mend()
    const mendedAt = performance.now()
    const resolved = await Promise.all(alerts.map((each) => resolvesAt(alertmanagerUrl, each.labels)))
    return alerts.map((each, index) => judge(what, each, fired[index], resolved[index], injectedAt, mendedAt))
  } catch (error) {
    return alerts.map(({ labels }) => ({ failure: what, alert: labels.alertname, receivers: [], fault: (error as Error).message }))
  }
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`

interface Fired {
  readonly at: number
  readonly receivers: readonly string[]
}

function judge(
  failure: string,
  { labels, to }: Failure['alerts'][number],
  fired: Fired | undefined,
  resolvedAt: number | undefined,
  injectedAt: number,
  mendedAt: number,
): Rehearsal {
  const { alertname: alert } = labels
  if (fired === undefined) return { failure, alert, receivers: [], fault: `did not fire within ${seconds(withinMs)}` }
  const told = { failure, alert, firedMs: fired.at - injectedAt, receivers: fired.receivers }
  if (fired.receivers.join() !== to) return { ...told, fault: `went to ${fired.receivers.join() || 'nobody'}, not to ${to}` }
  if (resolvedAt === undefined) return { ...told, fault: `did not resolve within ${seconds(withinMs)}` }
  return { ...told, resolvedMs: resolvedAt - mendedAt }
}

async function watchdog(url: string): Promise<Rehearsal> {
  const fired = await firesAt(url, { alertname: 'Watchdog' })
  const told = { failure: 'none', alert: 'Watchdog', receivers: fired?.receivers ?? [] }
  return fired?.receivers.join() === 'watchdog' ? told : { ...told, fault: 'is not heard' }
}

function firesAt(url: string, labels: Labels): Promise<Fired | undefined> {
  return until(async () => {
    const [alert] = await firing(url, labels)
    return alert && { at: performance.now(), receivers: alert.receivers.map(({ name }) => name) }
  })
}

function resolvesAt(url: string, labels: Labels): Promise<number | undefined> {
  return until(async () => ((await firing(url, labels)).length === 0 ? performance.now() : undefined))
}

async function until<T>(found: () => Promise<T | undefined>): Promise<T | undefined> {
  const giveUpAt = performance.now() + withinMs
  while (performance.now() < giveUpAt) {
    const value = await found().catch(() => undefined)
    if (value !== undefined) return value
    await pause(250)
  }
  return undefined
}
