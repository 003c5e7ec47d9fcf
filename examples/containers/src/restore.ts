import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { compose, type ComposeProject } from '@platform/stack/compose'
import { prepareCertificates } from './certificates.ts'
import { isPartOf } from './project.ts'
import { writeSecrets } from './secrets.ts'

export interface Restoring {
  readonly project: ComposeProject
  /** The passwords of the store that was lost, and with them the key of its backups. */
  readonly secrets: string
  /** As PostgreSQL reads it, `2026-01-31 12:00:00+00`. Default: all that was archived. */
  readonly to?: string | undefined
  /** Starts everything, and resolves when all is well. */
  readonly up: () => Promise<boolean>
  readonly onProgress: (line: string) => void
}

/**
 * Fills empty volumes from the backups and starts the store: databases first, then what Consul held, the PostgreSQL that was filled, then everybody; at
 * last what was on its way when the store was lost is announced again. Needs the folder of the passwords and the backups (`FILM_STORE_BACKUPS`), nothing
 * else of the lost machine.
 */
export async function restore({ project, secrets, to, up, onProgress }: Restoring): Promise<boolean> {
  const missing = ['complete', 'backup_key', 'pgbackrest_key'].filter((name) => !existsSync(join(secrets, name)))
  if (missing.length > 0)
    throw new Error(`the passwords of the lost store, and the key of its backups, are not in ${secrets}: no ${missing.join(', ')}`)
  if (to !== undefined) checkMoment(to)
  // What a newer version needs besides.
  writeSecrets(secrets)
  if (isPartOf(project, 'tls')) prepareCertificates(secrets)
  const recovered = await compose(
    project,
    '--progress=quiet',
    'run',
    '--rm',
    'restore',
    'restore',
    ...(to === undefined ? [] : [to]),
  ).catch(said)
  onProgress(`databases: ${recovered.trim().split('\n').at(-1)}`)
  // All of them, where there are several: one alone elects no leader.
  const servers = (await compose(project, 'config', '--services')).split('\n').filter((name) => /^consul(-\d)?$/.test(name))
  await compose(project, '--progress=quiet', 'up', '--detach', '--wait', '--no-build', ...servers)
  await compose(project, '--progress=quiet', 'run', '--rm', '--no-deps', 'backup', 'restore-consul').then(
    () => onProgress('Consul: the newest snapshot'),
    (error: { stderr?: string }) => onProgress(`Consul starts empty: ${error.stderr?.trim().split('\n').at(-1)}`),
  )
  // Before another, which has nothing yet and would begin a store of its own.
  await compose(project, '--progress=quiet', 'up', '--detach', '--wait', '--no-build', 'postgres')
  if (!(await up())) return false
  for (const [instance, what] of [
    ['orders-api-1', 'orders that nobody has settled'],
    ['fulfilment-worker', 'stock'],
  ] as const) {
    await compose(project, 'exec', '-T', instance, 'node', 'dist/resend.js')
    onProgress(`announced again: ${what}`)
  }
  return true
}

/** With its zone: without one, PostgreSQL would take the moment for one of its own clock's. */
function checkMoment(to: string): void {
  if (!/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?[+-]\d\d(:?\d\d)?$/.test(to))
    throw new Error(`--to '${to}' is no moment with its zone, such as '2026-01-31 12:00:00+00'`)
  // JavaScript reads minutes of the zone as well, and needs them.
  const at = Date.parse(to.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00'))
  if (!(at <= Date.now())) throw new Error(`--to '${to}' has not been yet`)
}

/** What the container said is the reason. */
function said(error: Error & { stdout?: string; stderr?: string }): never {
  throw new Error(`nothing was restored: ${`${error.stdout ?? ''}${error.stderr ?? ''}`.trim()}`, { cause: error })
}
