import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { freePort } from '@platform/stack'
import { compose } from '@platform/stack/compose'
import { authorityFile } from './certificates.ts'
import { infra } from './command.ts'
import type { Failure } from './failures/failure.ts'
import { allProfiles, filmStore } from './project.ts'
import { type Rehearsal, rehearse } from './rehearse.ts'
import { ownStore } from './settings.ts'
import { writeWatch } from './watch.ts'

export interface OwnRehearsing {
  readonly failures: readonly Failure[]
  readonly build: boolean
  readonly onProgress: (line: string) => void
  readonly signal: AbortSignal
}

/** Rehearses each failure on a store of the kind that has what breaks: one after the other, each started for that and taken down. */
export async function rehearseOnOwnStores({ failures, build, onProgress, signal }: OwnRehearsing): Promise<Rehearsal[]> {
  const rehearsals: Rehearsal[] = []
  for (const kind of [undefined, 'tls', 'ha'] as const) {
    const own = failures.filter(({ store }) => store === kind)
    if (own.length > 0) rehearsals.push(...(await rehearseOnOne(kind, { failures: own, build, onProgress, signal })))
  }
  return rehearsals
}

async function rehearseOnOne(kind: Failure['store'], { failures, build, onProgress, signal }: OwnRehearsing): Promise<Rehearsal[]> {
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
  const project = filmStore(kind === undefined ? [] : [kind], env, allProfiles)
  opened.defer(async () => void (await compose(project, 'down', '--volumes', '--timeout', '1')))
  onProgress(`a store of its own comes up${kind === undefined ? '' : ` with --${kind}`}`)
  await infra(['up', '--metrics', ...(kind === undefined ? [] : [`--${kind}`]), ...(build ? [] : ['--no-build'])], env, signal)
  const isTls = kind === 'tls'
  if (isTls) setDefaultCACertificates([...getCACertificates('default'), await readFile(authorityFile(env.FILM_STORE_SECRETS), 'utf8')])
  // Awaited here: the store is taken down when this function is left.
  return await rehearse({
    project,
    shopUrl: `${isTls ? 'https' : 'http'}://127.0.0.1:${shop}`,
    alertmanagerUrl: `http://127.0.0.1:${alertmanager}`,
    failures,
    onProgress,
    signal,
  })
}
