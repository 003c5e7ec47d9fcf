import { coerce } from '../coerce.ts'
import { same } from '../compare.ts'
import { ConfigError, describeFault } from '../errors.ts'
import { evaluate } from '../evaluate.ts'
import { type Field, mapSchema } from '../fields.ts'
import { mergeLayers } from '../layers.ts'
import { readSources } from '../reading.ts'
import { files } from '../sources/file.ts'
import { valueAt } from '../tree.ts'
import type { SettingsModule } from './module.ts'

const readTimeoutMs = 30_000

/**
 * What a folder of settings says, as texts of Consul's keys: `default.*` and `<environment>.*`, as `files` reads them. Throws with all that
 * keeps it from being said: faults, unknown names, secrets (a folder in Git is no place for them), values that a text cannot carry.
 */
export async function textsOfFolder(module: SettingsModule, folder: string, environment: string | undefined): Promise<Map<string, string>> {
  const sources = files(folder, { environment: environment ?? 'default' })
  const zod = module.settings.schema
  const map = mapSchema(zod)
  const readings = await readSources(sources, map, { signal: undefined, readTimeoutMs })
  const problems = readings.flatMap(({ warnings, faults }) => [...warnings, ...faults]).map(describeFault)
  // What is missing here may come from elsewhere.
  await evaluate({ zod, map, sources, rulesTimeoutMs: readTimeoutMs }, readings).catch((error: unknown) => {
    if (!ConfigError.isInstance(error)) throw error
    problems.push(...error.faults.filter(({ location }) => location !== undefined).map(describeFault))
  })
  const { tree } = mergeLayers(readings.map(({ layer }) => layer))
  const texts = new Map<string, string>()
  for (const field of map.fields) {
    const value = valueAt(tree, field.path)
    if (value === undefined) continue
    const path = field.path.join('.')
    const text = textOf(value, field)
    if (field.secret) problems.push(`${path}: is a secret, which does not belong into a folder of settings`)
    else if (text === undefined) problems.push(`${path}: has a value that no text in Consul stands for`)
    else texts.set(field.path.join('/'), text)
  }
  if (problems.length > 0)
    throw new Error(`the settings in ${folder} are not pushed:\n${[...new Set(problems)].map((one) => `  ${one}`).join('\n')}`)
  if (texts.size === 0) throw new Error(`${folder} holds no settings: looked for default.* and <environment>.* there`)
  return texts
}

/** The text that is read as this value again, if there is one. */
function textOf(value: unknown, { kind }: Field): string | undefined {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  if (text === '') return undefined
  const back = coerce(text, kind)
  return back.ok && same(back.value, value) ? text : undefined
}
