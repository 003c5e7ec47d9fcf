import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { allProfiles, failures, filmStore, ownStore, rotateCredentials, writeWatch } from '../../examples/containers/src/index.ts'
import { asRoot } from '../../examples/demo/src/drill/site.ts'
import { compose } from '../../packages/stack/src/compose.ts'
import { freePort } from '../../packages/stack/src/index.ts'
import { run } from '../step.ts'
import { check, leavesNothing, must } from './check.ts'
import { haRestoreChecks } from './ha-restore.ts'
import { served } from './rollout-checks.ts'
import { keepsContainers } from './same-containers.ts'
import { lockedDown, secretsShown } from './store-checks.ts'
import { rehearsed, targetsUp } from './watch-checks.ts'

/** A store in which no server is alone, watched: every server is asked, one that does not follow is told of, users are changed under load; it is lost and restored. */
export async function haChecks(): Promise<void> {
  const name = `film-store-ha-${process.pid}`
  const folder = mkdtempSync(join(tmpdir(), 'film-store-ha-'))
  chmodSync(folder, 0o755)
  const [shopPort, prometheusPort, alertmanagerPort] = [await freePort(), await freePort(), await freePort()]
  const env = ownStore({
    COMPOSE_PROJECT_NAME: name,
    FILM_STORE_SECRETS: join(folder, 'secrets'),
    FILM_STORE_BACKUPS: join(folder, 'backups'),
    FILM_STORE_WATCH: join(folder, 'watch'),
    FILM_STORE_PORT: String(shopPort),
    FILM_STORE_PROMETHEUS_PORT: String(prometheusPort),
    FILM_STORE_ALERTMANAGER_PORT: String(alertmanagerPort),
  })
  writeWatch(env.FILM_STORE_WATCH)
  const project = filmStore(['ha'], env, allProfiles)
  const infra = (...args: string[]) => run(process.execPath, ['scripts/infra.ts', ...args], env)
  const shopUrl = `http://127.0.0.1:${shopPort}`
  const inFolder = (script: string) => asRoot(['--volume', `${folder}:/site`], script)
  await inFolder('install --directory --owner=postgres --group=postgres /site/backups')
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
    await rehearsed({
      project,
      shopUrl,
      alertmanagerUrl: `http://127.0.0.1:${alertmanagerPort}`,
      failures: failures.filter(({ store }) => store === 'ha'),
      check,
    })
    await check('every service gets its other user under load', () =>
      served(shopUrl, () => rotateCredentials({ project, secrets: env.FILM_STORE_SECRETS, onProgress: () => {} })),
    )
    await check('commands know by themselves that it has --ha', async () => {
      const faults = await keepsContainers(project, async () => ((await infra('up', '--no-build')) === 0 ? [] : ['up did not find it']))
      return must(faults, 'up without it changes nothing')
    })
    await haRestoreChecks({ project, secrets: env.FILM_STORE_SECRETS, shopUrl, infra, check })
    await check('down --volumes leaves nothing', async () => {
      await infra('down')
      await infra('down', '--volumes')
      return leavesNothing(name)
    })
  } finally {
    await compose(project, 'down', '--volumes', '--timeout', '1').catch(() => {})
    await inFolder('rm -rf /site/backups')
    rmSync(folder, { recursive: true, force: true })
  }
}
