import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DbPoolError } from '../errors.ts'

export interface MigrationFile {
  readonly number: bigint
  /** `0001-create-orders.sql` */
  readonly file: string
  readonly text: string
  readonly checksum: string
  readonly inTransaction: boolean
}

const fileName = /^(\d{1,18})[-_].+\.sql$/
const noTransaction = /^\s*--\s*platform:\s*no-transaction\s*$/m

/** The numbered .sql files of a folder, lowest number first. Other files are none of ours, other .sql files a mistake. */
export async function readMigrationFiles(directory: string): Promise<readonly MigrationFile[]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.sql'))
  const files = await Promise.all(names.map((name) => readMigrationFile(directory, name)))
  files.sort((a, b) => (a.number < b.number ? -1 : a.number > b.number ? 1 : 0))
  files.forEach((file, index) => {
    if (file.number === files[index - 1]?.number) throw unusable(file.file, `has the number of ${files[index - 1]?.file}`)
  })
  return files
}

async function readMigrationFile(directory: string, file: string): Promise<MigrationFile> {
  const number = fileName.exec(file)?.[1]
  if (number === undefined) throw unusable(file, 'must be named like 0001-what-it-does.sql')
  // A checkout with other line ends is no other file.
  const text = (await readFile(join(directory, file), 'utf8')).replaceAll('\r\n', '\n')
  const checksum = createHash('sha256').update(text).digest('hex')
  return { number: BigInt(number), file, text, checksum, inTransaction: !noTransaction.test(text) }
}

export function unusable(file: string, problem: string): DbPoolError {
  return new DbPoolError('ERR_DB_POOL_MIGRATION_INVALID', `${file} ${problem}`, { file })
}
