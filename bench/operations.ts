/** What running the store costs beside serving it: each profile's memory and start, a rollout, a scrape; and how long it takes to come back. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { customers, filmStore, infra, ownStore, type Profile, rollout } from '@film-store/containers'
import { freePort } from '@platform/stack'
import { compose, type ComposeProject, docker } from '@platform/stack/compose'
import { runRoot } from './run-root.ts'

export interface ProfileCost {
  readonly name: string
  readonly startMs: number
  /** Idle, half a minute after the start, bytes. */
  readonly memory: number
}

export interface OperationsCost {
  readonly profiles: readonly ProfileCost[]
  /** Of catalog-api, two instances, under load. */
  readonly rolloutMs: number
  readonly scrape: { readonly seconds: number; readonly samples: number; readonly processor: number }
  readonly failovers: readonly { readonly server: string; readonly ledMs: number; readonly flowsMs: number }[]
  /** Until everything was settled again, from the backups alone. */
  readonly restoreMs: number | undefined
}

const megabyte = 1e6

/** `12.3MiB / 256MiB`, as `docker stats` writes it, in bytes. */
function bytesOf(text: string): number {
  const [, amount, unit] = /^([\d.]+)([KMG]?i?B)/.exec(text) ?? []
  const units: Readonly<Record<string, number>> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 }
  return Number(amount) * (units[unit ?? ''] ?? Number.NaN)
}

/** By service. */
export async function memoryOf(project: ComposeProject): Promise<Map<string, number>> {
  const ids = (await compose(project, 'ps', '--quiet')).trim().split('\n')
  const lines = (await docker(['stats', '--no-stream', '--format', '{{.Name}}\t{{.MemUsage}}', ...ids])).trim().split('\n')
  const name = project.env['COMPOSE_PROJECT_NAME']!
  return new Map(
    lines.map((line) => {
      const [container = '', usage = ''] = line.split('\t')
      return [container.slice(name.length + 1).replace(/-1$/, ''), bytesOf(usage)] as const
    }),
  )
}

const settledMs = 30_000

/** With the images that are there. `quick` leaves out failover and restore, which take minutes. */
export async function measureOperations(quick: boolean, onProgress: (line: string) => void): Promise<OperationsCost> {
  const profiles: ProfileCost[] = []
  let watched: Pick<OperationsCost, 'rolloutMs' | 'scrape'> | undefined
  const kinds = [
    ['core', []],
    ['core, tls', ['--tls']],
    ['core, ha', ['--ha']],
    ['core, metrics', ['--metrics']],
  ] as const
  for (const [name, flags] of quick ? kinds.slice(3) : kinds) {
    const cost = await withStore(flags, async (project, env, startMs) => {
      await new Promise((resolve) => setTimeout(resolve, settledMs))
      const memory = [...(await memoryOf(project)).values()].reduce((sum, bytes) => sum + bytes, 0)
      if (name === 'core, metrics') watched = await measureWatched(project, env)
      return { name, startMs, memory }
    })
    profiles.push(cost)
    onProgress(`${name}: healthy after ${(cost.startMs / 1000).toFixed(1)} s, ${(cost.memory / megabyte).toFixed(0)} MB`)
  }
  const failovers = quick ? [] : (await rehearsed<{ failovers: OperationsCost['failovers'] }>('failover')).failovers
  if (!quick) onProgress('each leader died in turn')
  const restoreMs = quick ? undefined : (await rehearsed<{ rtoMs: number }>('drill')).rtoMs
  return { profiles, ...watched!, failovers, restoreMs }
}

async function withStore<T>(
  flags: readonly string[],
  work: (project: ComposeProject, env: NodeJS.ProcessEnv, startMs: number) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'platform-bench-'))
  const env = ownStore({
    COMPOSE_PROJECT_NAME: `film-store-bench-${process.pid}`,
    FILM_STORE_SECRETS: join(folder, 'secrets'),
    FILM_STORE_PORT: String(await freePort()),
    FILM_STORE_PROMETHEUS_PORT: String(await freePort()),
    FILM_STORE_ALERTMANAGER_PORT: String(await freePort()),
  })
  const overrides = (['tls', 'ha'] as const).filter((name) => flags.includes(`--${name}`))
  const project = filmStore(overrides, env, ['core', 'metrics'] satisfies Profile[])
  try {
    const startedAt = performance.now()
    await infra(['up', '--no-build', ...flags], env)
    return await work(project, env, performance.now() - startedAt)
  } finally {
    await compose(project, 'down', '--volumes', '--timeout', '1').catch(() => {})
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Of the watch: per scrape and target, and the share of a processor that Prometheus takes. */
async function measureWatched(project: ComposeProject, env: NodeJS.ProcessEnv): Promise<Pick<OperationsCost, 'rolloutMs' | 'scrape'>> {
  await using _shop = await customers(`http://127.0.0.1:${env['FILM_STORE_PORT']}`)
  const startedAt = performance.now()
  await rollout({ project, service: 'catalog-api', onProgress: () => {} })
  const rolloutMs = performance.now() - startedAt
  const ask = async (query: string) => {
    const url = `http://127.0.0.1:${env['FILM_STORE_PROMETHEUS_PORT']}/api/v1/query?query=${encodeURIComponent(query)}`
    const { data } = (await (await fetch(url)).json()) as { data: { result: { value: [number, string] }[] } }
    return Number(data.result[0]?.value[1] ?? Number.NaN)
  }
  return {
    rolloutMs,
    scrape: {
      seconds: await ask('avg(scrape_duration_seconds)'),
      samples: await ask('sum(scrape_samples_scraped)'),
      processor: await ask('rate(process_cpu_seconds_total{job="prometheus"}[1m])'),
    },
  }
}

async function rehearsed<T>(command: 'failover' | 'drill'): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'platform-bench-'))
  const file = join(folder, 'told.json')
  try {
    await runRoot(process.execPath, ['scripts/infra.ts', command, '--no-build', '--json', file])
    return JSON.parse(readFileSync(file, 'utf8')) as T
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
