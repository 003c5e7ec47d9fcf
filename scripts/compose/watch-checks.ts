import { join } from 'node:path'
import { failures, printSloReport, type Rehearsal, rehearse, type Rehearsing, sloReport } from '../../examples/containers/src/index.ts'
import { deploysExpr, exportedNames, type Query, routeTests, rows, startsExpr } from '../../examples/operations/src/index.ts'
import { registry } from '../../packages/metrics/src/index.ts'
import { type ComposeProject, docker } from '../../packages/stack/src/compose.ts'
import { root } from '../pinned-node.ts'
import { type Check, must } from './check.ts'

export interface Watched {
  readonly project: ComposeProject
  readonly name: string
  readonly shopUrl: string
  readonly prometheusUrl: string
  readonly alertmanagerUrl: string
  readonly check: Check
}

type Series = Readonly<Record<string, string>>

const waitsMs = 60_000
const memoryBudgetMb = 2_000

/** The watch of a running store: it sees everybody, wakes somebody for each rehearsed failure, and no panel is empty. */
export async function watchChecks(watched: Watched): Promise<void> {
  const { check } = watched
  const startedAt = Date.now()
  const ask: Ask = <T>(path: string) => askPrometheus<T>(watched.prometheusUrl, path)
  await check('every target is scraped', () => targetsUp(watched.prometheusUrl))
  await check('rules and routes in their own images', promises)
  await rehearsed({ ...watched, failures: failures.filter(({ isCore }) => isCore) })
  await check('labels are those of the registry', () => labelsKnown(ask))
  await check('what the exporters are asked for is there', async () => {
    const names = new Set(await ask<string[]>('label/__name__/values'))
    return must(
      exportedNames.filter((each) => !names.has(each)),
      `${exportedNames.length} names`,
    )
  })
  await check('no panel is empty', () => panelsFilled(ask, startedAt))
  await check('the report of objectives', async () => {
    const kept = await sloReport(watched.prometheusUrl)
    console.log(printSloReport(kept).replaceAll(/^/gm, '     '))
    return must(
      kept.filter(({ achieved }) => achieved === undefined).map(({ name }) => `nothing of ${name}`),
      `${kept.length} objectives`,
    )
  })
  await check(`memory of store and watch below ${memoryBudgetMb} MB`, () => memory(watched.name))
}

/** Each alert of these failures is a check. */
export async function rehearsed({ check, ...rehearsing }: Omit<Rehearsing, 'onProgress'> & { readonly check: Check }): Promise<void> {
  await check('rehearsal', async () => {
    const rehearsals = await rehearse({ ...rehearsing, onProgress: (line) => console.log(`     ${line}`) })
    for (const each of rehearsals) await check(`${each.alert} (${each.failure})`, () => verdict(each))
    return `${rehearsals.length} alerts`
  })
}

export async function askPrometheus<T>(url: string, path: string): Promise<T> {
  const answer = await fetch(`${url}/api/v1/${path}`, { signal: AbortSignal.timeout(30_000) })
  const { status, data, error } = (await answer.json()) as { status: string; data: T; error?: string }
  if (status !== 'success') throw new Error(error)
  return data
}

type Ask = <T>(path: string) => Promise<T>

export async function targetsUp(prometheusUrl: string): Promise<string> {
  const giveUpAt = performance.now() + waitsMs
  for (;;) {
    const { activeTargets } = await askPrometheus<{ activeTargets: { scrapeUrl: string; health: string; lastError: string }[] }>(
      prometheusUrl,
      'targets',
    )
    const down = activeTargets.filter(({ health }) => health !== 'up').map(({ scrapeUrl, lastError }) => `${scrapeUrl}: ${lastError}`)
    if (down.length === 0 || performance.now() > giveUpAt) return must(down, `${activeTargets.length} targets`)
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
}

/** promtool and amtool of the images that will read the files. */
async function promises(): Promise<string> {
  const inside = (image: string, tool: string, ...args: string[]) =>
    docker([
      'run',
      '--rm',
      '--network=none',
      `--volume=${join(root, 'docker')}:/files:ro`,
      '--workdir=/files',
      `--entrypoint=/bin/${tool}`,
      image,
      ...args,
    ])
  const prometheus = (...args: string[]) => inside('prom/prometheus:v3', 'promtool', ...args)
  const alertmanager = (...args: string[]) => inside('prom/alertmanager:v0.28', 'amtool', ...args)
  await prometheus('check', 'config', '--syntax-only', 'prometheus/prometheus.yml')
  await prometheus('test', 'rules', 'prometheus/objectives.test.yml', 'prometheus/symptoms.test.yml')
  await alertmanager('check-config', 'alertmanager/alertmanager.yml')
  for (const { labels, to } of routeTests) {
    const words = Object.entries(labels).map(([label, value]) => `${label}=${value}`)
    await alertmanager('config', 'routes', 'test', '--config.file=alertmanager/alertmanager.yml', `--verify.receivers=${to}`, ...words)
  }
  return `${routeTests.length} routes`
}

function verdict({ receivers, firedMs, resolvedMs, fault }: Rehearsal): string {
  const seconds = (ms = 0) => `${(ms / 1000).toFixed(1)} s`
  return must(
    fault === undefined ? [] : [fault],
    `fired after ${seconds(firedMs)}, to ${receivers.join()}, resolved after ${seconds(resolvedMs)}`,
  )
}

/** What a scrape adds, and histograms. */
const added = new Set(['__name__', 'job', 'instance', 'le'])

async function labelsKnown(ask: Ask): Promise<string> {
  const faults: string[] = []
  let seen = 0
  for (const [name, { prometheus, kind, labels }] of Object.entries(registry)) {
    const family = kind === 'counter' ? `${prometheus}_total` : kind === 'histogram' ? `${prometheus}_count` : prometheus
    const found = await ask<Series[]>(`series?match[]=${encodeURIComponent(family)}`)
    if (found.length > 0) seen++
    const known = new Set<string>(Object.values(labels))
    const strange = new Set(found.flatMap((series) => Object.keys(series)).filter((label) => !added.has(label) && !known.has(label)))
    for (const label of strange) faults.push(`${name} has the label ${label}, which its page does not name`)
  }
  return must(faults, `${seen} of ${Object.keys(registry).length} metrics seen`)
}

/** Over the whole run: what is rare was provoked by the rehearsal, or is only seen to be a query. */
async function panelsFilled(ask: Ask, startedAt: number): Promise<string> {
  const queries: (Query & { panel: string })[] = [
    ...rows.flatMap(({ panels }) => panels.flatMap(({ title, queries: all }) => all.map((query) => ({ ...query, panel: title })))),
    { expr: startsExpr, panel: 'annotation of starts' },
    { expr: deploysExpr, panel: 'annotation of deploys', rare: true },
  ]
  const faults: string[] = []
  for (const { expr, panel, rare } of queries) {
    const plain = expr.replaceAll('$__rate_interval', '1m').replaceAll('$job', '.+')
    const range = `query=${encodeURIComponent(plain)}&start=${startedAt / 1000}&end=${Date.now() / 1000}&step=5`
    const { result } = await ask<{ result: readonly { values: readonly [number, string][] }[] }>(`query_range?${range}`)
    const filled = result.some(({ values }) => values.some(([, value]) => value !== 'NaN'))
    if (!filled && !rare) faults.push(`${panel}: ${plain}`)
  }
  return must(faults, `${queries.length} queries`)
}

async function memory(name: string): Promise<string> {
  const ids = (await docker(['ps', '--quiet', '--filter', `label=com.docker.compose.project=${name}`])).trim().split('\n')
  const told = await docker(['stats', '--no-stream', '--format', '{{.MemUsage}}', ...ids])
  const units: Readonly<Record<string, number>> = { KiB: 1 / 1024, MiB: 1, GiB: 1024 }
  const sum = [...told.matchAll(/^([\d.]+)(\w+) \//gm)].reduce((total, [, figure, unit]) => total + Number(figure) * (units[unit!] ?? 0), 0)
  return must(sum < memoryBudgetMb && sum > 0 ? [] : [`${sum.toFixed(0)} MB`], `${sum.toFixed(0)} MB in ${ids.length} containers`)
}
