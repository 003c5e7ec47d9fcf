import type { ConfigDefinition } from '../define-config.ts'
import { expectedOf, type Field } from '../fields.ts'
import { argumentName, variableName } from '../names.ts'
import { jsonText } from '../value-text.ts'

/** A table of all settings, as Markdown; the same every time. Defaults of secrets do not show. */
export function settingsDocs(definition: Pick<ConfigDefinition<unknown>, 'fields'>, prefix: string | undefined): string {
  const head = ['setting', ...(prefix === undefined ? [] : ['variable']), 'argument', 'is', 'default', 'a change', 'what for']
  const rows = definition.fields.map((field) => [
    code(field.path.join('.')),
    ...(prefix === undefined ? [] : [variables(field, prefix)]),
    code(`--${argumentName(field.path)}`),
    `${field.secret ? 'secret: ' : ''}${expectedOf(field)}`,
    defaultOf(field),
    { live: 'applies at once', drain: 'applies to new work', restart: 'needs a restart' }[field.reload],
    field.description ?? '',
  ])
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', String.raw`\|`).replaceAll('\n', ' ')).join(' | ')} |`
  return `# Settings\n\n${[line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')}\n`
}

const code = (text: string): string => `\`${text}\``

function variables(field: Field, prefix: string): string {
  const names = [variableName(prefix, field.path), ...field.aliases]
  return (field.secret ? names.flatMap((name) => [name, `${name}_FILE`]) : names).map(code).join(', ')
}

function defaultOf(field: Field): string {
  if (field.required) return 'required'
  return field.defaultValue === undefined ? '' : code(jsonText(field.defaultValue) ?? '')
}
