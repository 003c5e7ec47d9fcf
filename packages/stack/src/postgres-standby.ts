import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Account } from './account.ts'
import { connected } from './postgres-contents.ts'
import { wrong } from './options.ts'
import type { Site } from './plan.ts'

/** A file may vanish while the folder is copied; then it is copied again. */
const copies = 3

/**
 * The data folder of a standby: a copy of the running primary's, made between the two calls by which a backup is announced, and where to
 * stream from. It follows until `select pg_promote()`.
 */
export async function copyPrimary(url: string, site: Site, account: Account | undefined): Promise<void> {
  const to = join(site.folder, 'data')
  await connected(url, async (query) => {
    const { rows } = await query("select current_setting('data_directory') as folder")
    const from = (rows[0] as { folder: string }).folder
    if (!existsSync(from)) throw wrong('follows', 'must be a PostgreSQL whose data is on this machine')
    await query("select pg_backup_start('platform-stack', true)")
    for (let copy = 1; ; copy++) {
      try {
        await site.runToEnd({ command: 'cp', args: ['-Rp', from, to], env: site.env, cwd: site.folder, account })
        break
      } catch (error) {
        if (copy === copies) throw error
        rmSync(to, { recursive: true, force: true })
      }
    }
    const label = await query('select labelfile as text from pg_backup_stop(false)')
    site.write('data/backup_label', (label.rows[0] as { text: string }).text)
  })
  rmSync(join(to, 'postmaster.pid'), { force: true })
  site.write('data/standby.signal', '')
  const settings = 'data/postgresql.auto.conf'
  site.write(settings, `${readFileSync(join(site.folder, settings), 'utf8')}primary_conninfo = '${conninfo(url)}'\n`)
}

function conninfo(url: string): string {
  const { hostname, port, username, password } = new URL(url)
  return `host=${hostname} port=${port} user=${decodeURIComponent(username)} password=${decodeURIComponent(password)}`
}
