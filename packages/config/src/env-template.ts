import type { ConfigDefinition } from './define-config.ts'
import { expectedOf, type Field } from './fields.ts'
import { variableName } from './names.ts'
import { assertPrefix } from './sources/env.ts'
import { variableText } from './value-text.ts'

/** The text of an `.env.example`: what must be set stands open, what has a default or may be absent is commented out, secrets are empty. */
export function envTemplate(definition: Pick<ConfigDefinition<unknown>, 'fields'>, options: { prefix: string }): string {
  assertPrefix(options.prefix)
  return definition.fields.map((field) => entry(field, options.prefix)).join('\n')
}

function entry(field: Field, prefix: string): string {
  const name = variableName(prefix, field.path)
  const kind = field.secret ? `secret: ${expectedOf(field)}, or its file in ${name}_FILE` : expectedOf(field)
  const lines = [...(field.description?.split(/\r\n|[\r\n]/) ?? []), `${kind}${field.required ? ' (required)' : ''}`].map(
    (line) => `# ${line}`,
  )
  const value = `${name}=${quoted(variableText(field.defaultValue) ?? '')}`
  // A value of several lines is commented out line by line.
  return `${[...lines, field.required ? value : value.replaceAll(/^/gm, '# ')].join('\n')}\n`
}

/** As a .env file is read: between quotes of a kind that the text does not hold, everything stands for itself. */
function quoted(text: string): string {
  if (/^[\w./:@%+,-]*$/.test(text)) return text
  // Between double quotes \n would be a line break.
  const quote = ["'", '`', ...(text.includes('\\n') ? [] : ['"'])].find((mark) => !text.includes(mark))
  return quote === undefined || text.includes('\r') ? '' : `${quote}${text}${quote}`
}
