import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { optionError } from '../errors.ts'
import { assertCredential, type Credential, revealCredential } from '../options.ts'
import type { CredentialTarget } from './contract.ts'
import { alreadyRotating } from './rotation.ts'
import { urlOf } from './url-of.ts'

export interface PostgresUsersOptions {
  /** `postgres://…` of a role that may create and alter the two. */
  adminUrl: Credential
  users: readonly [string, string]
  /** What the two are members of and act as, so that it owns what they make. Default none: grant by other means. */
  role?: string | undefined
}

interface Client {
  connect(): Promise<unknown>
  query(text: string, values?: readonly unknown[]): Promise<{ rows: Record<string, unknown>[] }>
  end(): Promise<void>
  on(event: 'error', listener: () => void): unknown
}

const connectTimeoutMs = 10_000

/** Two users of a PostgreSQL database. Needs `pg`. The server is given a SCRAM verifier, so no statement and no log holds a password. */
export function postgresUsers(options: PostgresUsersOptions): CredentialTarget {
  const { adminUrl, users, role } = options
  assertCredential('adminUrl', adminUrl)
  if (role !== undefined && (typeof role !== 'string' || role === '')) throw optionError('role', 'the name of a role')

  const connected = async <T>(change: (url: URL) => void, work: (client: Client) => Promise<T>): Promise<T> => {
    const url = urlOf('adminUrl', await revealCredential(adminUrl), ['postgres:', 'postgresql:'])
    change(url)
    const { default: pg } = await import('pg')
    const client = new pg.Client({ connectionString: url.href, connectionTimeoutMillis: connectTimeoutMs, query_timeout: 30_000 }) as Client
    client.on('error', () => {})
    try {
      await client.connect()
      return await work(client)
    } finally {
      await client.end().catch(() => {})
    }
  }
  const asAdmin = <T>(work: (client: Client) => Promise<T>): Promise<T> => connected(() => {}, work)

  return {
    name: 'PostgreSQL',
    users,
    async setPassword({ username, password }) {
      const verifier = await scramVerifier(password)
      await asAdmin(async (client) => {
        const { rows } = await client.query('select 1 from pg_roles where rolname = $1', [username])
        const verb = rows.length === 0 ? 'create' : 'alter'
        await client.query(`${verb} role ${quoted(username)} login password '${verifier}'`)
        if (role === undefined) return
        await client.query(`grant ${quoted(role)} to ${quoted(username)}`)
        await client.query(`alter role ${quoted(username)} set role to ${quoted(role)}`)
      })
    },
    prove: ({ username, password }) =>
      connected(
        (url) => {
          url.username = encodeURIComponent(username)
          url.password = encodeURIComponent(password)
        },
        async (client) => void (await client.query('select 1')),
      ),
    exclusively: (run) =>
      asAdmin(async (client) => {
        const name = `platform-config rotation ${users.toSorted().join(' ')}`
        const { rows } = await client.query('select pg_try_advisory_lock(hashtextextended($1, 0)) as locked', [name])
        if (rows[0]?.['locked'] !== true) throw alreadyRotating(users)
        return run()
      }),
  }
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`

/** RFC 5803, as PostgreSQL keeps it. The password is ASCII, so there is nothing to normalise. */
async function scramVerifier(password: string): Promise<string> {
  const salt = randomBytes(16)
  const iterations = 4096
  const salted = await promisify(pbkdf2)(password, salt, iterations, 32, 'sha256')
  const hmac = (text: string) => createHmac('sha256', salted).update(text).digest()
  const stored = createHash('sha256').update(hmac('Client Key')).digest('base64')
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${hmac('Server Key').toString('base64')}`
}
