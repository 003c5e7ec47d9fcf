import { optionError } from '../errors.ts'
import { variableName } from '../names.ts'
import type { Source } from '../source.ts'
import { followFiles } from './follow-files.ts'
import { generationAround } from './generation.ts'
import { readVariables } from './variables.ts'

export interface EnvOptions {
  /** `ORDERS` makes `db.url` the variable `ORDERS_DB_URL`. Capitals, digits and `_`. */
  prefix: string
  /** Default `process.env`. */
  variables?: NodeJS.ProcessEnv | undefined
}

/** Settings from environment variables, named after their path in the schema. */
export function env(options: EnvOptions): Source {
  const { prefix, variables } = options
  assertPrefix(prefix)
  const files: string[] = []
  return {
    name: 'env',
    read: (readOptions) => readVariables({ prefix, variables: variables ?? process.env, location: (name) => name, files }, readOptions),
    generation: () => generationAround(files),
    watch: (changed) => followFiles(() => files, changed),
    setting: (field) => variableName(prefix, field.path),
  }
}

export function assertPrefix(prefix: unknown): asserts prefix is string {
  if (typeof prefix !== 'string' || !/^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/.test(prefix))
    throw optionError('prefix', 'capitals, digits and _ such as ORDERS')
}
