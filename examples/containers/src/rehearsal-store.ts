import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '@platform/stack'
import { compose } from '@platform/stack/compose'
import { infra } from './command.ts'
import { allProfiles, filmStore } from './project.ts'
import { type Rehearsal, rehearse } from './rehearse.ts'
import { ownStore } from './settings.ts'
import { writeWatch } from './watch.ts'

/** Starts a store of its own whose watch runs at a sixtieth, rehearses on it and takes it down. */
export async function rehearseOnItsOwn(build: boolean, onProgress: (line: string) => void, signal: AbortSignal): Promise<Rehearsal[]> {
  await using opened = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'film-store-rehearsal-'))
  await chmod(folder, 0o755)
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const [shop, prometheus, alertmanager] = [await freePort(), await freePort(), await freePort()]
  const env = ownStore({
    COMPOSE_PROJECT_NAME: `film-store-rehearsal-${process.pid}`,
    FILM_STORE_SECRETS: join(folder, 'secrets'),
    FILM_STORE_WATCH: join(folder, 'watch'),
    FILM_STORE_PORT: String(shop),
    FILM_STORE_PROMETHEUS_PORT: String(prometheus),
    FILM_STORE_ALERTMANAGER_PORT: String(alertmanager),
  })
  writeWatch(env.FILM_STORE_WATCH)
  const project = filmStore([], env, allProfiles)
  opened.defer(async () => void (await compose(project, 'down', '--volumes', '--timeout', '1')))
  onProgress('a store of its own comes up')
  await infra(['up', '--metrics', ...(build ? [] : ['--no-build'])], env, signal)
  // Awaited here: the store is taken down when this function is left.
  return await rehearse({
    project,
    shopUrl: `http://127.0.0.1:${shop}`,
    alertmanagerUrl: `http://127.0.0.1:${alertmanager}`,
    onProgress,
    signal,
  })
}
