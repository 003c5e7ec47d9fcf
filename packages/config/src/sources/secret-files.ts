import { readdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { optionError } from '../errors.ts'
import { variableName } from '../names.ts'
import type { Source, Tree } from '../source.ts'
import { assertFollowOptions, followFiles, type FollowOptions } from './follow-files.ts'
import { generationOf } from './generation.ts'
import { assignText, readSecretFile } from './variables.ts'
import { bareObject } from '../tree.ts'

export interface SecretFilesOptions extends FollowOptions {
  /** A missing or empty directory is no fault. Default false. */
  optional?: boolean | undefined
}

/** One file a setting, as Docker and Kubernetes mount secrets: `db.password` is the file `db_password` or `DB_PASSWORD`. */
export function secretFiles(directory: string, options: SecretFilesOptions = {}): Source {
  if (typeof directory !== 'string' || directory === '') throw optionError('directory', 'the path of a directory')
  assertFollowOptions(options)
  return {
    name: directory,
    async read(readOptions): Promise<Tree> {
      const { fields, report, signal } = readOptions
      signal?.throwIfAborted()
      let names: Set<string>
      // Kubernetes swaps `..data` as a whole: what is read comes from one generation.
      const folder = await realpath(join(directory, '..data')).catch(() => directory)
      try {
        names = new Set(await readdir(folder))
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code ?? 'unreadable'
        if (code !== 'ENOENT' || options.optional !== true)
          report.fault({ path: '', location: directory, expected: `a directory that can be read (${code})` })
        return {}
      }
      if (names.size === 0 && options.optional !== true) {
        // What is left of a mount that is gone must not become the defaults.
        report.fault({
          path: '',
          location: directory,
          expected: 'a directory that is not empty',
          hint: 'pass { optional: true } if that is fine',
        })
      }
      const tree = bareObject()
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
        const text = await readSecretFile(join(folder, only), field, location, readOptions)
        if (text !== undefined) assignText(tree, field, text, location, readOptions)
      }
      return tree
    },
    generation: () => generationOf([directory]),
    watch: (changed) => followFiles(() => [directory], changed, options),
    setting: (field) => join(directory, variableName('', field.path).toLowerCase()),
  }
}
