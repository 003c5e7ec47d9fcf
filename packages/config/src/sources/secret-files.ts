import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { optionError } from '../errors.ts'
import { variableName } from '../names.ts'
import type { Source, Tree } from '../source.ts'
import { assignText, readSecretFile } from './variables.ts'

export interface SecretFilesOptions {
  /** A missing directory is no fault. Default false. */
  optional?: boolean | undefined
}

/** One file a setting, as Docker and Kubernetes mount secrets: `db.password` is the file `db_password` or `DB_PASSWORD`. */
export function secretFiles(directory: string, options: SecretFilesOptions = {}): Source {
  if (typeof directory !== 'string' || directory === '') throw optionError('directory', 'the path of a directory')
  return {
    name: directory,
    async read(readOptions): Promise<Tree> {
      const { fields, report, signal } = readOptions
      signal?.throwIfAborted()
      let names: Set<string>
      try {
        names = new Set(await readdir(directory))
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code ?? 'unreadable'
        if (code !== 'ENOENT' || options.optional !== true)
          report.fault({ path: '', location: directory, expected: `a directory that can be read (${code})` })
        return {}
      }
      const tree: Record<string, unknown> = {}
      for (const field of fields) {
        const name = variableName('', field.path)
        const found = [name, name.toLowerCase()].filter((candidate) => names.has(candidate))
        const [only] = found
        if (only === undefined) continue
        const location = join(directory, only)
        if (found.length > 1) {
          report.fault({ path: field.path.join('.'), location, expected: `either ${found.join(' or ')}, not both` })
          continue
        }
        const text = await readSecretFile(location, field, location, readOptions)
        if (text !== undefined) assignText(tree, field, text, location, readOptions)
      }
      return tree
    },
    setting: (field) => join(directory, variableName('', field.path).toLowerCase()),
  }
}
