import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import pg from 'pg'
import { unprivilegedAccount } from './account.ts'
import { containerProgram } from './container-program.ts'
import { type Credentials, type ResolvedCredentials, resolveCredentials } from './credentials.ts'
import { canInstall, installPackages } from './debian.ts'
import type { Image } from './engine.ts'
import { StackError } from './errors.ts'
import { findServer, type Found } from './find-server.ts'
import { images } from './images.ts'
import { launch } from './launch.ts'
import { booleanOption, type ResolvedStartOptions, resolveStartOptions, settingsOption, type StartOptions, wrong } from './options.ts'
import { embeddedPackage, embeddedPostgres, machinePostgres, oldestMajor, type PostgresPrograms } from './postgres-programs.ts'
import type { Plan } from './plan.ts'
import { furnish, namesOption, textsOption } from './postgres-contents.ts'
import { copyPrimary } from './postgres-standby.ts'
import { borrowServer, environmentUrl, type Server } from './server.ts'

export interface PostgresOptions extends Omit<StartOptions, 'source'> {
  /**
   * `embedded`: the build from npm, the same on every machine. `machine`: the newest one installed, 15 at least, and where there is none
   * what every other server does. `container`: the official image. Default: `embedded`, then `machine`.
   */
  source?: 'embedded' | 'machine' | 'container' | undefined
  /** Whether data survives a crash of the machine, as opposed to one of the server; slower. Default false. */
  durable?: boolean | undefined
  /** Further settings, `{ name: value }`, as in postgresql.conf. */
  settings?: Record<string, string> | undefined
  /** The superuser's. */
  credentials?: Credentials | undefined
  /** Created before the start resolves, in every database that is made later too: `['pg_trgm', 'citext']`. */
  extensions?: readonly string[] | undefined
  /**
   * A running server of this machine that this one follows as its hot standby: with its data and credentials, by streaming, until
   * `select pg_promote()`. Default: none.
   */
  follows?: Server | undefined
  /** Run once, before the start resolves, in the database of the URL; several statements in a text are one transaction. */
  sql?: string | readonly string[] | undefined
}

/** The address of a server that is there already. */
export const postgresVariable = 'PLATFORM_POSTGRES_URL'

/** A setting of our own, by which a server shows that it is the one that was started. */
const identitySetting = 'platform_stack.identity'

/** Below 17 there is no locale of PostgreSQL's own, and macOS has no C.UTF-8. */
const libcLocale = process.platform === 'linux' ? 'C.UTF-8' : 'C'

/** A PostgreSQL of one's own. The user in `url` is a superuser whose password is needed (scram-sha-256); 300 connections. */
export async function startPostgres(options: PostgresOptions = {}): Promise<Server> {
  const resolved = resolveStartOptions(
    options,
    ['durable', 'settings', 'credentials', 'extensions', 'sql', 'follows'],
    ['embedded', 'machine', 'container'],
  )
  const { durable = false } = options
  booleanOption('durable', durable)
  const settings = settingsOption(options.settings ?? {}, ['port', 'data_directory', identitySetting])
  const { follows } = options
  const credentials = follows === undefined ? resolveCredentials(options.credentials) : credentialsOf(follows, options)
  const extensions = namesOption('extensions', options.extensions)
  const sql = textsOption('sql', options.sql)
  const given = environmentUrl(postgresVariable, resolved)
  if (given) {
    const asked = {
      durable,
      settings: Object.keys(settings).length > 0,
      credentials: options.credentials !== undefined,
      extensions: extensions.length > 0,
      sql: sql.length > 0,
      follows: follows !== undefined,
    }
    const protocols = ['postgres:', 'postgresql:']
    return borrowServer(
      given,
      { name: 'postgres', variable: postgresVariable, protocols, defaultPort: 5432, askVersion: postgresVersion, asked },
      resolved,
    )
  }
  const found = await findPrograms(resolved)
  const fast: Record<string, string> = durable ? {} : { fsync: 'off', full_page_writes: 'off' }
  const all = {
    max_connections: '300',
    // Files of the data folder instead of /dev/shm, so that nothing outlives a killed server; a container's is too small as well.
    dynamic_shared_memory_type: 'mmap',
    log_timezone: 'UTC',
    timezone: 'UTC',
    ...fast,
    ...settings,
  }
  if (found.image && follows !== undefined) throw wrong('follows', 'needs programs on this machine')
  const plan = found.image ? containerPlan(found.image, all, credentials) : machinePlan(found.programs, all, credentials, follows)
  const server = await launch(plan, resolved)
  try {
    await furnish(server.url, extensions, sql)
    return server
  } catch (error) {
    await server.stop()
    throw error
  }
}

function credentialsOf(primary: Server, { credentials, extensions, sql }: PostgresOptions): ResolvedCredentials {
  if (primary?.name !== 'postgres') throw wrong('follows', 'must be a PostgreSQL of startPostgres')
  if (credentials !== undefined || extensions !== undefined || sql !== undefined) {
    throw wrong('follows', 'brings credentials and contents with it: leave out credentials, extensions and sql')
  }
  const { username, password } = new URL(primary.url)
  return { user: decodeURIComponent(username), password: decodeURIComponent(password) }
}

async function findPrograms(options: ResolvedStartOptions): Promise<Found<PostgresPrograms>> {
  const { source } = options
  const embedded = source === undefined || source === 'embedded' ? embeddedPostgres() : undefined
  if (embedded) return { programs: embedded }
  if (source === 'embedded') {
    throw new StackError('ERR_STACK_MISSING', `PostgreSQL: the package ${embeddedPackage()} is not installed here; leave out the source`)
  }
  const install = async () => {
    await installPackages(['postgresql'], options)
    return machinePostgres()
  }
  return findServer(
    {
      what: `PostgreSQL ${oldestMajor} or newer`,
      variable: postgresVariable,
      program: 'it',
      image: images.postgres,
      find: machinePostgres,
      install: canInstall() ? install : undefined,
    },
    options,
  )
}

const toArgs = (settings: Record<string, string>) => Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])

/** PostgreSQL's own since 17. */
const locale = (major: number) =>
  major >= 17 ? ['--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C'] : [`--locale=${libcLocale}`]

function machinePlan(
  programs: PostgresPrograms,
  settings: Record<string, string>,
  { user, password }: ResolvedCredentials,
  follows: Server | undefined,
): Plan {
  const account = unprivilegedAccount()
  const identity = randomBytes(12).toString('hex')
  return {
    name: 'postgres',
    origin: programs.origin,
    account,
    stopSignal: 'SIGINT', // fast shutdown: clients are cut, data is written
    async prepare(site) {
      if (follows !== undefined) return copyPrimary(follows.url, site, account)
      const passwordFile = site.write('password', password)
      const args = ['-D', join(site.folder, 'data'), '-U', user, '--auth=scram-sha-256', `--pwfile=${passwordFile}`]
      await site.runToEnd({
        command: join(programs.bin, 'initdb'),
        args: [...args, '--encoding=UTF8', ...locale(programs.major), '--no-sync'],
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
          ...toArgs({ listen_addresses: '127.0.0.1', unix_socket_directories: '', ...settings, [identitySetting]: identity }),
        ],
        env: site.env,
        cwd: site.folder,
        account,
        lastSignal: 'SIGQUIT', // immediate shutdown: releases its shared memory
      },
    ],
    url: (site) => `postgres://${user}:${password}@127.0.0.1:${site.port}/postgres`,
    probe: (url) => postgresVersion(url, identity),
  }
}

function containerPlan(image: Image, settings: Record<string, string>, { user, password }: ResolvedCredentials): Plan {
  const identity = randomBytes(12).toString('hex')
  const major = Number(/:(\d+)/.exec(image.name)?.[1] ?? 0) // unknown: what every version knows
  return {
    name: 'postgres',
    origin: `container (${image.name})`,
    account: undefined,
    stopSignal: 'SIGINT',
    prepare: () => {},
    programs: (site) => [
      containerProgram(site, {
        image,
        publish: [[site.port, 5432]],
        dataPath: '/platform',
        env: {
          PGDATA: '/platform/data', // the image's own place differs by version
          POSTGRES_USER: user,
          POSTGRES_DB: 'postgres',
          POSTGRES_PASSWORD: password,
          POSTGRES_INITDB_ARGS: ['--auth=scram-sha-256', '--encoding=UTF8', ...locale(major), '--no-sync'].join(' '),
        },
        args: ['postgres', ...toArgs({ ...settings, [identitySetting]: identity })],
      }),
    ],
    url: (site) => `postgres://${user}:${password}@127.0.0.1:${site.port}/postgres`,
    probe: (url) => postgresVersion(url, identity),
  }
}

/** Of whatever answers at the address, if it is who it should be; rejects while nothing does. */
export async function postgresVersion(url: string, identity?: string): Promise<string> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000, query_timeout: 5_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query<{ version: string; identity: string | null }>(
      "select current_setting('server_version') as version, current_setting($1, true) as identity",
      [identitySetting],
    )
    const [row] = rows
    if (row === undefined || (identity !== undefined && row.identity !== identity)) throw new Error('another PostgreSQL answers')
    return row.version.split(' ')[0] ?? ''
  } finally {
    await client.end().catch(() => {})
  }
}
