import { createHash } from 'node:crypto'
import pg from 'pg'
import { StackError } from './errors.ts'
import { wrong } from './options.ts'

/** A list of names, each once. */
export function namesOption(option: string, value: readonly string[] | undefined): readonly string[] {
  const names = value ?? []
  const good = Array.isArray(names) && names.every((name) => typeof name === 'string' && /^[\w-]{1,63}$/.test(name))
  if (!good) throw wrong(option, 'must be a list of names')
  return names
}

export function textsOption(option: string, value: string | readonly string[] | undefined): readonly string[] {
  const texts = value === undefined ? [] : typeof value === 'string' ? [value] : value
  if (!Array.isArray(texts) || !texts.every((text) => typeof text === 'string')) throw wrong(option, 'must be a text or a list of texts')
  return texts as readonly string[]
}

/** Extensions go into template1 as well, from which every later database is copied. */
export async function furnish(url: string, extensions: readonly string[], sql: readonly string[]): Promise<void> {
  if (extensions.length > 0) await runStatements(databaseUrl(url, 'template1'), creating(extensions))
  if (extensions.length + sql.length > 0) await runStatements(url, [...creating(extensions), ...sql])
}

function creating(extensions: readonly string[]): string[] {
  return extensions.map((name) => `create extension if not exists ${pg.escapeIdentifier(name)} cascade`)
}

export function databaseUrl(url: string, name: string): string {
  const other = new URL(url)
  other.pathname = `/${name}`
  return other.href
}

/** Over a connection of its own. What the server refuses is `ERR_STACK_REFUSED`, by the server's own words. */
export async function runStatements(url: string, statements: readonly string[]): Promise<void> {
  await connected(url, async (query) => {
    for (const statement of statements) await query(statement)
  })
}

type Query = (statement: string, values?: unknown[]) => Promise<pg.QueryResult>

export async function connected<T>(url: string, work: (query: Query) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 30_000 })
  client.on('error', () => {})
  const explained = async <R>(asked: Promise<R>): Promise<R> => {
    try {
      return await asked
    } catch (cause) {
      const code = (cause as { severity?: string }).severity === undefined ? 'ERR_STACK_UNREACHABLE' : 'ERR_STACK_REFUSED'
      throw new StackError(code, `PostgreSQL: ${(cause as Error).message}`, { cause })
    }
  }
  try {
    await explained(client.connect())
    return await work((statement, values) => explained(client.query(statement, values)))
  } finally {
    await client.end().catch(() => {})
  }
}

/** What a database holds at first. */
export interface PostgresContents {
  extensions?: readonly string[] | undefined
  /** Run in this order; several statements in a text are one transaction. */
  sql?: string | readonly string[] | undefined
  /** Fills the database behind the URL by other means: migrations, fixtures. Needs `version`. */
  prepare?: ((url: string) => Promise<void>) | undefined
  /** Names what `prepare` makes, so that it is made once: a hash of the migrations, 1 to 100 characters. */
  version?: string | undefined
}

const templateLock = 7_405_219

/**
 * The name of a database that holds these contents, made at the first call on this server by whichever process comes first; undefined when there is
 * nothing to hold.
 */
export async function templateOf(url: string, contents: PostgresContents): Promise<string | undefined> {
  const extensions = namesOption('extensions', contents.extensions)
  const sql = textsOption('sql', contents.sql)
  const { prepare, version } = contents
  if (prepare !== undefined && typeof prepare !== 'function') throw wrong('prepare', 'must be a function')
  if (prepare !== undefined && (typeof version !== 'string' || version === '' || version.length > 100)) {
    throw wrong('version', 'must name what `prepare` makes, in 1 to 100 characters')
  }
  if (extensions.length + sql.length === 0 && prepare === undefined) return undefined
  const hash = createHash('sha256').update(JSON.stringify([extensions, sql, prepare && version]))
  const name = `platform_stack_template_${hash.digest('hex').slice(0, 24)}`

  return connected(url, async (query) => {
    // Held by the session: whoever dies in the middle lets go, and what it began has another name.
    await query('select pg_advisory_lock($1)', [templateLock])
    const { rowCount } = await query('select 1 from pg_database where datname = $1', [name])
    if (rowCount !== 0) return name
    const draft = `${name}_draft`
    await query(`drop database if exists ${draft} with (force)`)
    await query(`create database ${draft}`)
    await runStatements(databaseUrl(url, draft), [...creating(extensions), ...sql])
    await prepare?.(databaseUrl(url, draft))
    await query(`alter database ${draft} rename to ${name}`)
    return name
  })
}
