import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import pg from 'pg'
import { unprivilegedAccount } from './account.ts'
import { launch } from './launch.ts'
import { resolveStartOptions, type StartOptions, wrong } from './options.ts'
import { embeddedPostgres, machinePostgres, type PostgresPrograms } from './postgres-programs.ts'
import type { Plan } from './plan.ts'
import { borrowServer, type Server } from './server.ts'

export interface PostgresOptions extends StartOptions {
  /** `embedded`: the build from npm, the same on every machine (default). `machine`: the newest one installed, 15 at least. */
  source?: 'embedded' | 'machine' | undefined
  /** Whether data survives a crash of the machine, as opposed to one of the server; slower. Default false. */
  durable?: boolean | undefined
  /** Further settings, `{ name: value }`, as in postgresql.conf. */
  settings?: Record<string, string> | undefined
}

/** The address of a server that is there already. */
export const postgresVariable = 'PLATFORM_POSTGRES_URL'

/** Below 17 there is no locale of PostgreSQL's own, and macOS has no C.UTF-8. */
const libcLocale = process.platform === 'linux' ? 'C.UTF-8' : 'C'

/** A PostgreSQL of one's own. The user in `url` is a superuser whose password is needed (scram-sha-256); 300 connections. */
export async function startPostgres(options: PostgresOptions = {}): Promise<Server> {
  const resolved = resolveStartOptions(options, ['source', 'durable', 'settings'])
  const { source = 'embedded', durable = false, settings = {} } = options
  if (source !== 'embedded' && source !== 'machine') throw wrong('source', "must be 'embedded' or 'machine'")
  if (typeof durable !== 'boolean') throw wrong('durable', 'must be a boolean')
  const given = resolved.fresh ? undefined : process.env[postgresVariable]
  if (given) return borrowServer('postgres', postgresVariable, given, postgresVersion, 5432)
  const programs = await (source === 'embedded' ? embeddedPostgres() : machinePostgres(resolved))
  return launch(postgresPlan(programs, durable, settings), resolved)
}

function postgresPlan(programs: PostgresPrograms, durable: boolean, settings: Record<string, string>): Plan {
  const account = unprivilegedAccount()
  const password = randomBytes(12).toString('hex')
  const fast: Record<string, string> = durable ? {} : { fsync: 'off', full_page_writes: 'off' }
  const all = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '300',
    // Files of the data folder instead of /dev/shm, so that nothing outlives a killed server.
    dynamic_shared_memory_type: 'mmap',
    log_timezone: 'UTC',
    timezone: 'UTC',
    ...fast,
    ...settings,
  }
  return {
    name: 'postgres',
    origin: programs.origin,
    account,
    stopSignal: 'SIGINT', // fast shutdown: clients are cut, data is written
    async prepare(site) {
      const passwordFile = site.write('password', password)
      const args = ['-D', join(site.folder, 'data'), '-U', 'platform', '--auth=scram-sha-256', `--pwfile=${passwordFile}`]
      const locale =
        programs.major >= 17 ? ['--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C'] : [`--locale=${libcLocale}`]
      await site.runToEnd({
        command: join(programs.bin, 'initdb'),
        args: [...args, '--encoding=UTF8', ...locale, '--no-sync'],
        env: site.env,
        cwd: site.folder,
        account,
      })
    },
    programs: (site) => [
      {
        command: join(programs.bin, 'postgres'),
        args: [
          '-D',
          join(site.folder, 'data'),
          '-p',
          String(site.port),
          ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
        ],
        env: site.env,
        cwd: site.folder,
        account,
        lastSignal: 'SIGQUIT', // immediate shutdown: releases its shared memory
      },
    ],
    url: (site) => `postgres://platform:${password}@127.0.0.1:${site.port}/postgres`,
    probe: postgresVersion,
  }
}

/** Of whatever answers at the address; rejects while nothing does. */
export async function postgresVersion(url: string): Promise<string> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000, query_timeout: 5_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query<{ version: string }>("select current_setting('server_version') as version")
    return rows[0]?.version.split(' ')[0] ?? ''
  } finally {
    await client.end().catch(() => {})
  }
}
