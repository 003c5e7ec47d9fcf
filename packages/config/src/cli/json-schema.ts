import { z, type ZodType } from 'zod'
import type { ConfigDefinition } from '../define-config.ts'
import { isSecretSchema } from '../fields.ts'

/** JSON Schema of what a settings file may hold, for editors. Of a secret nothing but its type. */
export function jsonSchema(definition: Pick<ConfigDefinition<unknown>, 'schema'>): string {
  const schema = z.toJSONSchema(definition.schema, {
    io: 'input',
    unrepresentable: 'any',
    override({ zodSchema, jsonSchema: out }) {
      if (!isSecretSchema(zodSchema as unknown as ZodType)) return
      for (const key of ['default', 'enum', 'const', 'examples', 'pattern'] as const) delete out[key]
      if (out.type !== 'object') out.writeOnly = true
    },
  })
  // Variables and arguments give what is required too: a file alone may be incomplete.
  return `${JSON.stringify(schema, (key, value: unknown) => (key === 'required' && Array.isArray(value) ? undefined : value), 2)}\n`
}
