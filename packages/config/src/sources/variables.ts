import { readFile } from 'node:fs/promises'
import { coerce } from '../coerce.ts'
import type { Field } from '../fields.ts'
import { expectedOf } from '../fields.ts'
import { meant, variableName } from '../names.ts'
import type { ReadOptions, Tree } from '../source.ts'
import { assign } from '../tree.ts'

export interface VariableSource {
  readonly prefix: string
  readonly variables: Readonly<Record<string, string | undefined>>
  readonly location: (name: string) => string
}

/** Settings from named variables: `X` or, for a secret, the content of the file that `X_FILE` names. An empty variable is one that is not set. */
export async function readVariables({ prefix, variables, location }: VariableSource, options: ReadOptions): Promise<Tree> {
  const { fields, report } = options
  const tree: Record<string, unknown> = {}
  const known = new Set<string>()
  const valueOf = (name: string) => (variables[name] === '' ? undefined : variables[name])
  for (const field of fields) {
    const name = variableName(prefix, field.path)
    known.add(name)
    let from = name
    let text = valueOf(name)
    if (field.secret) {
      const fileName = `${name}_FILE`
      known.add(fileName)
      const path = valueOf(fileName)
      if (text !== undefined && path !== undefined) {
        const expected = `either ${name} or ${fileName}, not both`
        report.fault({ path: field.path.join('.'), location: location(name), expected })
        continue
      }
      if (path !== undefined) {
        from = fileName
        text = await readSecretFile(path, field, location(fileName), options)
      }
    }
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
export async function readSecretFile(
  path: string,
  field: Field,
  location: string,
  { signal, report }: ReadOptions,
): Promise<string | undefined> {
  try {
    const text = (await readFile(path, { encoding: 'utf8', signal })).replace(/\r?\n$/, '')
    if (text !== '') return text
    report.fault({ path: field.path.join('.'), location, expected: 'a file that is not empty' })
  } catch (error) {
    signal?.throwIfAborted()
    const code = (error as NodeJS.ErrnoException).code ?? 'unreadable'
    report.fault({ path: field.path.join('.'), location, expected: `a file that can be read (${code})` })
  }
  return undefined
}

function warnOfUnknown(
  names: readonly string[],
  known: ReadonlySet<string>,
  { prefix, location }: Pick<VariableSource, 'prefix' | 'location'>,
  { report }: ReadOptions,
): void {
  for (const name of names) {
    if (known.has(name) || (prefix !== '' && !name.startsWith(`${prefix}_`))) continue
    const owner = [...known].find((variable) => prefix === '' && name.endsWith(`_${variable}`))
    const hint =
      owner === undefined
        ? meant(name, known)
        : `if ${name.slice(0, -owner.length - 1)} is its prefix, say so: { prefix: '${name.slice(0, -owner.length - 1)}' }`
    report.warn({ path: name, location: location(name), expected: 'the name of a setting', hint })
  }
}
