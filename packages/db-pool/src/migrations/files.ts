import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DbPoolError } from '../errors.ts'
import { scan } from '../sql/scanner.ts'
import { statementOf } from '../sql/statement.ts'

export interface SqlFile {
  /** `0001-create-orders.sql` */
  readonly file: string
  readonly text: string
  readonly checksum: string
}

export interface MigrationFile extends SqlFile {
  readonly number: bigint
  readonly inTransaction: boolean
}

const fileName = /^(\d{1,18})[-_].+\.sql$/
const noTransaction = /^\s*--\s*platform:\s*no-transaction\s*$/m
/** What pg_dump writes around its output for psql. */
const restriction = /^\\(?:un)?restrict .*$/gm

/** The numbered .sql files of a folder, lowest number first. Other files are none of ours, other .sql files a mistake. */
export async function readMigrationFiles(directory: string): Promise<readonly MigrationFile[]> {
  const files = (await readSqlFiles(directory)).map(migrationOf)
  files.sort((a, b) => (a.number < b.number ? -1 : a.number > b.number ? 1 : 0))
  files.forEach((file, index) => {
    if (file.number === files[index - 1]?.number) throw unusable(file.file, `has the number of ${files[index - 1]?.file}`)
  })
  return files
}

/** All .sql files of a folder, by name; none of them ends its transaction itself. */
export async function readSeedFiles(directory: string): Promise<readonly SqlFile[]> {
  const files = await readSqlFiles(directory)
  for (const file of files) mustNotControl(file)
  return files
}

async function readSqlFiles(directory: string): Promise<readonly SqlFile[]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.sql')).sort()
  return Promise.all(names.map((name) => readSqlFile(directory, name)))
}

async function readSqlFile(directory: string, file: string): Promise<SqlFile> {
  const bytes = await readFile(join(directory, file))
  // A checkout with other line ends is no other file.
  const text = bytes.toString('utf8').replaceAll('\r\n', '\n')
  if (text.startsWith('\ufeff')) throw unusable(file, 'begins with a byte order mark: save it as UTF-8 without one')
  if (!Buffer.from(bytes.toString('utf8')).equals(bytes)) throw unusable(file, 'is not UTF-8')
  if (text.includes('\0')) throw unusable(file, 'contains NUL')
  if (/^COPY .* FROM stdin;$/im.test(text)) throw unusable(file, 'holds data for COPY: dump it with --inserts, or the schema only')
  const checksum = createHash('sha256').update(text).digest('hex')
  const plain = text.replace(restriction, '')
  if (/^\\\w/m.test(plain)) throw unusable(file, 'holds commands of psql (lines that begin with \\)')
  return { file, text: plain, checksum }
}

function migrationOf(file: SqlFile): MigrationFile {
  const number = fileName.exec(file.file)?.[1]
  if (number === undefined) throw unusable(file.file, 'must be named like 0001-what-it-does.sql')
  const inTransaction = !noTransaction.test(file.text)
  mustNotControl(file)
  if (!inTransaction && countStatements(file.text) !== 1) throw unusable(file.file, 'must hold one statement, as it says no-transaction')
  return { ...file, number: BigInt(number), inTransaction }
}

function mustNotControl({ file, text }: SqlFile): void {
  const control = statementOf(text).controls.find(({ verb }) => verb === 'begin' || verb === 'commit' || verb === 'rollback')
  if (control !== undefined) {
    throw unusable(file, `must not begin, commit or roll back (${control.verb.toUpperCase()}): it runs in a transaction of its own`)
  }
}

function countStatements(text: string): number {
  let count = 0
  let open = false
  for (const token of scan(text)) {
    const end = token.kind === 'mark' && token.text === ';'
    if (!end && !open) count++
    open = !end
  }
  return count
}

export function unusable(file: string, problem: string): DbPoolError {
  return new DbPoolError('ERR_DB_POOL_MIGRATION_INVALID', `${file} ${problem}`, { file })
}
