import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { allProfiles, filmStore, firing, ownStore, rotateCredentials, writeWatch } from '../../examples/containers/src/index.ts'
import { compose, type ComposeProject } from '../../packages/stack/src/compose.ts'
import { freePort } from '../../packages/stack/src/index.ts'
import { run } from '../step.ts'
import { check, leavesNothing, must, seconds } from './check.ts'
import { served } from './rollout-checks.ts'
import { keepsContainers } from './same-containers.ts'
import { lockedDown, secretsShown } from './store-checks.ts'
import { targetsUp } from './watch-checks.ts'

const withinMs = 90_000

/** A store in which no server is alone, watched: every server is asked, one that does not follow is told of, users are changed under load. */
export async function haChecks(): Promise<void> {
  const name = `film-store-ha-${process.pid}`
  const folder = mkdtempSync(join(tmpdir(), 'film-store-ha-'))
  chmodSync(folder, 0o755)
  const [shopPort, prometheusPort, alertmanagerPort] = [await freePort(), await freePort(), await freePort()]
  const env = ownStore({
    COMPOSE_PROJECT_NAME: name,
    FILM_STORE_SECRETS: join(folder, 'secrets'),
    FILM_STORE_WATCH: join(folder, 'watch'),
    FILM_STORE_PORT: String(shopPort),
    FILM_STORE_PROMETHEUS_PORT: String(prometheusPort),
    FILM_STORE_ALERTMANAGER_PORT: String(alertmanagerPort),
  })
  writeWatch(env.FILM_STORE_WATCH)
  const project = filmStore(['ha'], env, allProfiles)
  const infra = (...args: string[]) => run(process.execPath, ['scripts/infra.ts', ...args], env)
  const shopUrl = `http://127.0.0.1:${shopPort}`
  try {
    const isUp = await check('up with --ha and --metrics', async () =>
      must((await infra('up', '--ha', '--metrics', '--no-build')) === 0 ? [] : ['it did not come up'], 'all healthy'),
    )
    if (!isUp) {
      console.log(await compose(project, 'logs', '--tail', '20'))
      return
    }
    await check('locked down', () => lockedDown(project))
    await check('no password is shown', () => secretsShown(project, env.FILM_STORE_SECRETS))
    await check('every server is scraped', () => targetsUp(`http://127.0.0.1:${prometheusPort}`))
    await check('one that does not follow is told of', () => replicationLags(project, `http://127.0.0.1:${alertmanagerPort}`))
    await check('every service gets its other user under load', () =>
      served(shopUrl, () => rotateCredentials({ project, secrets: env.FILM_STORE_SECRETS, onProgress: () => {} })),
    )
    await check('commands know by themselves that it has --ha', async () => {
      const faults = await keepsContainers(project, async () => ((await infra('up', '--no-build')) === 0 ? [] : ['up did not find it']))
      return must(faults, 'up without it changes nothing')
    })
    await check('down --volumes leaves nothing', async () => {
      await infra('down')
      await infra('down', '--volumes')
      return leavesNothing(name)
    })
  } finally {
    await compose(project, 'down', '--volumes', '--timeout', '1').catch(() => {})
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The replica is kept from its leader, and let in again: it itself would go on believing that it is up to date. */
async function replicationLags(project: ComposeProject, alertmanagerUrl: string): Promise<string> {
  const sql = (container: string, text: string) =>
    compose(project, 'exec', '-T', container, 'psql', '--username=postgres', '--tuples-only', '--no-align', '--command', text)
  const leader = (await sql('postgres', 'select pg_is_in_recovery()')).trim() === 'f' ? 'postgres' : 'postgres-2'
  const isFiring = async () => (await firing(alertmanagerUrl, { alertname: 'ReplicationLags' })).length > 0
  const until = async (what: string, wanted: boolean) => {
    const startedAt = performance.now()
    while ((await isFiring()) !== wanted) {
      if (performance.now() - startedAt > withinMs) throw new Error(`${what} within ${seconds(withinMs)}`)
      await pause(500)
    }
    return seconds(performance.now() - startedAt)
  }
  await until('it fires already', false)
  await sql(leader, 'alter role replicator nologin')
  await sql(leader, 'select pg_terminate_backend(pid) from pg_stat_replication')
  const fired = await until('it did not fire', true)
  await sql(leader, 'alter role replicator login')
  return `fired after ${fired}, resolved after ${await until('it did not resolve', false)}`
}
