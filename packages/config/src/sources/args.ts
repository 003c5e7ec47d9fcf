import { parseArgs } from 'node:util'
import { optionError } from '../errors.ts'
import type { Field } from '../fields.ts'
import { argumentName, meant } from '../names.ts'
import type { ReadOptions, Source, Tree } from '../source.ts'
import { assignText } from './variables.ts'
import { bareObject } from '../tree.ts'

/**
 * Settings from the command line: `--db.url x`, `--db.url=x`, `--db-pool.max-size 5`, `--debug`, `--no-debug`.
 * A list may be given item by item. What follows `--` is left to the program; everything else must be a setting.
 */
export function args(argv: readonly string[] = process.argv.slice(2)): Source {
  if (!Array.isArray(argv) || argv.some((argument) => typeof argument !== 'string')) throw optionError('argv', 'a list of strings')
  return {
    name: 'args',
    // oxlint-disable-next-line typescript/require-await -- a fault of parsing must reject, not throw
    async read(options) {
      return readArguments(argv, options)
    },
    setting: (field) => `--${argumentName(field.path)}`,
  }
}

function readArguments(argv: readonly string[], options: ReadOptions): Tree {
  const { fields, report } = options
  const byName = new Map<string, Field>()
  for (const field of fields) {
    for (const name of [argumentName(field.path), field.path.join('.'), ...field.argAliases]) byName.set(name, field)
  }
  const end = argv.indexOf('--')
  const { tokens } = parseArgs({
    args: end < 0 ? [...argv] : argv.slice(0, end),
    options: Object.fromEntries(
      [...byName].map(([name, field]) => [name, { type: field.kind.type === 'boolean' ? 'boolean' : 'string' }] as const),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const given = new Map<Field, string[]>()
  for (const token of tokens) {
    if (token.kind === 'option-terminator') continue
    if (token.kind === 'positional') {
      // Not its text: it may be a secret that was meant as the value of an option.
      report.fault({ path: '', location: `argument ${token.index + 1}`, expected: 'an option such as --name=value' })
      continue
    }
    const negated = token.name.startsWith('no-') ? byName.get(token.name.slice(3)) : undefined
    const isNegation = !byName.has(token.name) && negated?.kind.type === 'boolean' && token.value === undefined
    const field = isNegation ? negated : byName.get(token.name)
    if (field === undefined) {
      const hint = meant(token.name, byName.keys())
      // Not its text either, unless it is nearly one of ours: a secret may begin with a dash.
      const location = hint === undefined ? `argument ${token.index + 1}` : token.rawName
      report.fault({ path: '', location, expected: 'an option that is a setting', hint })
      continue
    }
    const text = isNegation ? 'false' : (token.value ?? (field.kind.type === 'boolean' ? 'true' : undefined))
    if (text === undefined || (token.inlineValue === false && /^-(?!\d)/.test(text)))
      report.fault({ path: field.path.join('.'), location: token.rawName, expected: `a value: ${token.rawName}=value` })
    else given.set(field, [...(given.get(field) ?? []), text])
  }
  return assignGiven(given, options)
}

function assignGiven(given: ReadonlyMap<Field, readonly string[]>, options: ReadOptions): Tree {
  const tree = bareObject()
  for (const [field, texts] of given) {
    const path = field.path.join('.')
    const location = `--${argumentName(field.path)}`
    if (field.secret)
      options.report.warn({
        path,
        location,
        expected: 'a secret from a file or a variable',
        hint: 'everyone on this machine can read command lines',
      })
    if (texts.length > 1 && field.kind.type !== 'list') options.report.fault({ path, location, expected: 'to be given once' })
    else assignText(tree, field, texts.join(','), location, options)
  }
  return tree
}
