import { setTimeout as pause } from 'node:timers/promises'
import { compose, type ComposeProject } from '@platform/stack/compose'
import { firing, type Labels } from './alertmanager.ts'
import { customers } from './customers.ts'
import type { Expected, Failure, Stage } from './failures/failure.ts'

/** What became of an alert. */
export interface Rehearsal {
  readonly failure: string
  readonly alert: string
  readonly firedMs?: number
  readonly receivers: readonly string[]
  readonly resolvedMs?: number
  readonly fault?: string
}

/** How long an alert may take to fire, or to resolve unless its failure says otherwise. */
const withinMs = 180_000

export interface Rehearsing {
  readonly project: ComposeProject
  readonly shopUrl: string
  readonly alertmanagerUrl: string
  readonly failures: readonly Failure[]
  readonly onProgress: (line: string) => void
  readonly signal?: AbortSignal
}

/** Breaks a running store whose watch runs at a sixtieth, and sees each alert fire, find its receiver and resolve. */
export async function rehearse({ project, shopUrl, alertmanagerUrl, failures, onProgress, signal }: Rehearsing): Promise<Rehearsal[]> {
  await using store = await customers(shopUrl)
  const stage: Stage = { customers: store, compose: (...args) => compose(project, ...args) }
  // As long as the longest of the short windows, so that every rate has a past.
  await pause(35_000, undefined, { signal })
  const rehearsals: Rehearsal[] = [await watchdog(alertmanagerUrl)]
  for (const failure of failures) {
    signal?.throwIfAborted()
    onProgress(failure.what)
    const each = await rehearseOne(failure, stage, alertmanagerUrl)
    rehearsals.push(...each)
    for (const rehearsal of each) onProgress(told(rehearsal))
  }
  return rehearsals
}

function told({ alert, firedMs, receivers, resolvedMs, fault }: Rehearsal): string {
  if (fault !== undefined) return `FAIL ${alert}: ${fault}`
  return ` ok  ${alert}: after ${seconds(firedMs!)}, to ${receivers.join()}, resolved ${seconds(resolvedMs!)} after the mending`
}

/** What could not be broken, or not be mended, is a fault of each of its alerts. */
async function rehearseOne(failure: Failure, stage: Stage, alertmanagerUrl: string): Promise<Rehearsal[]> {
  const { what, alerts, silent, resolvesWithinMs = withinMs, inject } = failure
  try {
    // Left over from another failure, it would prove nothing.
    const before = await Promise.all(alerts.map(({ labels }) => resolvesAt(alertmanagerUrl, labels, withinMs)))
    if (before.includes(undefined)) throw new Error('fires before anything is broken')
    const injectedAt = performance.now()
    const mend = await inject(stage)
    let fired: readonly (Fired | undefined)[]
    let unwanted: readonly unknown[] = []
    try {
      fired = await Promise.all(alerts.map((each) => firesAt(alertmanagerUrl, each.labels)))
      if (silent !== undefined) unwanted = await firing(alertmanagerUrl, silent)
    } finally {
      await mend()
    }
    const mendedAt = performance.now()
    const resolved = await Promise.all(alerts.map(({ labels }) => resolvesAt(alertmanagerUrl, labels, resolvesWithinMs)))
    if (unwanted.length > 0) throw new Error(`${silent!.alertname} fires as well`)
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
  { labels, to }: Expected,
  fired: Fired | undefined,
  resolvedAt: number | undefined,
  injectedAt: number,
  mendedAt: number,
): Rehearsal {
  const { alertname: alert } = labels
  if (fired === undefined) return { failure, alert, receivers: [], fault: `did not fire within ${seconds(withinMs)}` }
  const heard = { failure, alert, firedMs: fired.at - injectedAt, receivers: fired.receivers }
  if (fired.receivers.join() !== to) return { ...heard, fault: `went to ${fired.receivers.join() || 'nobody'}, not to ${to}` }
  if (resolvedAt === undefined) return { ...heard, fault: 'did not resolve in time' }
  return { ...heard, resolvedMs: resolvedAt - mendedAt }
}

async function watchdog(url: string): Promise<Rehearsal> {
  const fired = await firesAt(url, { alertname: 'Watchdog' })
  const heard = { failure: 'none', alert: 'Watchdog', receivers: fired?.receivers ?? [] }
  return fired?.receivers.join() === 'watchdog' ? heard : { ...heard, fault: 'is not heard' }
}

function firesAt(url: string, labels: Labels): Promise<Fired | undefined> {
  return until(withinMs, async () => {
    const [alert] = await firing(url, labels)
    return alert && { at: performance.now(), receivers: alert.receivers.map(({ name }) => name) }
  })
}

function resolvesAt(url: string, labels: Labels, ms: number): Promise<number | undefined> {
  return until(ms, async () => ((await firing(url, labels)).length === 0 ? performance.now() : undefined))
}

async function until<T>(ms: number, found: () => Promise<T | undefined>): Promise<T | undefined> {
  const giveUpAt = performance.now() + ms
  while (performance.now() < giveUpAt) {
    const value = await found().catch(() => undefined)
    if (value !== undefined) return value
    await pause(250)
  }
  return undefined
}
