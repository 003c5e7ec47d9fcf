import { coerce } from '../coerce.ts'
import type { Field } from '../fields.ts'
import { expectedOf } from '../fields.ts'
import { meant, variableName } from '../names.ts'
import type { ReadOptions, Tree } from '../source.ts'
import { assign, bareObject } from '../tree.ts'
import { readTextFile } from './text-file.ts'

export interface VariableSource {
  readonly prefix: string
  readonly variables: Readonly<Record<string, string | undefined>>
  readonly location: (name: string) => string
  /** Filled with the files that variables name. */
  readonly files: string[]
}

/** Settings from named variables: `X` or, for a secret, the content of the file that `X_FILE` names. An empty variable is one that is not set. */
export async function readVariables({ prefix, variables, location, files }: VariableSource, options: ReadOptions): Promise<Tree> {
  const { fields, report } = options
  files.length = 0
  const tree = bareObject()
  const known = new Set<string>()
  const valueOf = (name: string) => (variables[name] === '' ? undefined : variables[name])
  for (const field of fields) {
    const names = [...new Set([variableName(prefix, field.path), ...field.aliases])]
    const all = field.secret ? names.flatMap((name) => [name, `${name}_FILE`]) : names
    for (const name of all) known.add(name)
    const [from, second] = all.filter((name) => valueOf(name) !== undefined)
    if (from === undefined) continue
    if (second !== undefined) {
      report.fault({ path: field.path.join('.'), location: location(from), expected: `either ${from} or ${second}, not both` })
      continue
    }
    const value = valueOf(from) ?? ''
    const isFile = !names.includes(from)
    if (isFile) files.push(value)
    const text = isFile ? await readSecretFile(value, field, location(from), options) : value
    if (text !== undefined) assignText(tree, field, text, location(from), options)
  }
  warnOfUnknown(Object.keys(variables), known, { prefix, location }, options)
  return tree
}

/** Converts, locates and assigns; a text that does not fit is a fault here, so that the schema does not report it as missing. */
export function assignText(tree: Record<string, unknown>, field: Field, text: string, location: string, { report }: ReadOptions): void {
  const coerced = coerce(text, field.kind)
  if (coerced.ok) {
    report.at(field.path, location)
    assign(tree, field.path, coerced.value)
    return
  }
  const hint = text.startsWith('tcp://')
    ? 'Kubernetes sets such variables for a Service of that name: choose another prefix or set enableServiceLinks: false'
    : undefined
  report.fault({ path: field.path.join('.'), location, expected: field.secret ? expectedOf(field) : coerced.expected, hint })
}

/** A secret in a file of its own: one line break at the end does not belong to it. */
export async function readSecretFile(path: string, field: Field, location: string, options: ReadOptions): Promise<string | undefined> {
  const setting = field.path.join('.')
  const text = (await readTextFile(path, options, { setting, location }))?.replace(/\r?\n$/, '')
  if (text !== '') return text
  options.report.fault({ path: setting, location, expected: 'a file that is not empty' })
  return undefined
}

/** A line of a key or a certificate looks like a name and a value: only what is written as variables are is shown. */
export function shownName(name: string): string {
  return /^[A-Z][A-Z0-9_]{0,63}$/.test(name) ? name : '(no name)'
}

/** Looking for what was meant compares with every name: not for masses. */
const maxHints = 20

function warnOfUnknown(
  names: readonly string[],
  known: ReadonlySet<string>,
  { prefix, location }: Pick<VariableSource, 'prefix' | 'location'>,
  { report }: ReadOptions,
): void {
  let hints = 0
  for (const name of names) {
    if (known.has(name) || (prefix !== '' && !name.startsWith(`${prefix}_`))) continue
    const owner = hints++ < maxHints ? [...known].find((variable) => prefix === '' && name.endsWith(`_${variable}`)) : undefined
    const hint =
      owner === undefined
        ? hints <= maxHints
          ? meant(name, known)
          : undefined
        : `if ${name.slice(0, -owner.length - 1)} is its prefix, say so: { prefix: '${name.slice(0, -owner.length - 1)}' }`
    report.warn({
      path: shownName(name),
      location: shownName(name) === name ? location(name) : location(''),
      expected: 'the name of a setting',
      hint,
    })
  }
}
