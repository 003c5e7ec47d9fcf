import { readFile } from 'node:fs/promises'
import { parseEnv } from 'node:util'
import { optionError } from '../errors.ts'
import { variableName } from '../names.ts'
import type { Source } from '../source.ts'
import { assertPrefix } from './env.ts'
import { readVariables } from './variables.ts'

export interface DotenvOptions {
  /** As in `env`. Default: names without a prefix. */
  prefix?: string | undefined
}

/** Settings from a `.env` file, by the same names as `env`. A missing file is fine; `process.env` is left alone. */
export function dotenv(path = '.env', options: DotenvOptions = {}): Source {
  const { prefix = '' } = options
  if (typeof path !== 'string' || path === '') throw optionError('path', 'the path of a file')
  if (prefix !== '') assertPrefix(prefix)
  return {
    name: path,
    async read(readOptions) {
      let text: string
      try {
        text = await readFile(path, { encoding: 'utf8', signal: readOptions.signal })
      } catch (error) {
        readOptions.signal?.throwIfAborted()
        const { code } = error as NodeJS.ErrnoException
        if (code !== 'ENOENT')
          readOptions.report.fault({ path: '', location: path, expected: `a file that can be read (${code ?? 'unreadable'})` })
        return {}
      }
      const lines = text.split('\n')
      const location = (name: string) => {
        const index = lines.findLastIndex((line) => new RegExp(`^\\s*(export\\s+)?${name.replace(/\W/g, '\\$&')}\\s*=`).test(line))
        return index < 0 ? path : `${path}:${index + 1}`
      }
      return readVariables({ prefix, variables: parseEnv(text), location }, readOptions)
    },
    setting: (field) => `${variableName(prefix, field.path)} in ${path}`,
  }
}
