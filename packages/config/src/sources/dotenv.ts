import { parseEnv } from 'node:util'
import { optionError } from '../errors.ts'
import { variableName } from '../names.ts'
import type { Source } from '../source.ts'
import { assertPrefix } from './env.ts'
import { followFiles } from './follow-files.ts'
import { generationAround } from './generation.ts'
import { readTextFile } from './text-file.ts'
import { readVariables, shownName } from './variables.ts'

export interface DotenvOptions {
  /** As in `env`. Default: names without a prefix. */
  prefix?: string | undefined
}

/** Settings from a `.env` file, by the same names as `env`. A missing file is fine; `process.env` is left alone. */
export function dotenv(path = '.env', options: DotenvOptions = {}): Source {
  const { prefix = '' } = options
  if (typeof path !== 'string' || path === '') throw optionError('path', 'the path of a file')
  if (prefix !== '') assertPrefix(prefix)
  const linked: string[] = []
  let held = false
  return {
    name: path,
    async read(readOptions) {
      const text = await readTextFile(path, readOptions, { optional: true })
      if (text === undefined) {
        linked.length = 0
        return {}
      }
      if (text.trim() === '' && held) {
        // It held settings before: an interrupted write, or a full disk.
        readOptions.report.fault({ path: '', location: path, expected: 'a file that is not empty', hint: 'remove it for no settings' })
        return {}
      }
      held ||= text.trim() !== ''
      const places = new Map<string, number>()
      for (const [index, line] of text.split('\n').entries()) {
        const name = /^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=/.exec(line)?.[1]
        if (name === undefined) continue
        if (places.has(name))
          readOptions.report.warn({
            path: shownName(name),
            location: `${path}:${index + 1}`,
            expected: 'each name once',
            hint: 'the last one counts',
          })
        places.set(name, index + 1)
      }
      const location = (name: string) => (places.has(name) ? `${path}:${places.get(name)}` : path)
      return readVariables({ prefix, variables: parseEnv(text), location, files: linked }, readOptions)
    },
    generation: () => generationAround([path, ...linked]),
    watch: (changed) => followFiles(() => [path, ...linked], changed),
    setting: (field) => `${variableName(prefix, field.path)} in ${path}`,
  }
}
