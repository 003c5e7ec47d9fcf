import { withDeadline } from '@platform/kernel'
import { wrongOption } from './errors.ts'

/** Any Standard Schema: zod, valibot, arktype and others. Only its verdict counts. */
export interface SchemaLike {
  readonly '~standard': {
    validate(value: unknown): SchemaResult | Promise<SchemaResult>
  }
}
type SchemaResult = { readonly issues?: readonly unknown[] | undefined }

export function schemaOption(schema: SchemaLike | undefined): SchemaLike | undefined {
  if (schema === undefined || typeof schema?.['~standard']?.validate === 'function') return schema
  throw wrongOption('schema', "must be a Standard Schema: have '~standard' with validate")
}

/** Rejects when the value does not fit, the schema throws, or gives no verdict in time. */
export async function fits(schema: SchemaLike, value: unknown, timeoutMs: number): Promise<void> {
  const late = (): Error => new Error(`the schema gave no verdict within ${timeoutMs} ms`)
  const { issues } = await withDeadline(timeoutMs, late, async () => schema['~standard'].validate(value))
  if (issues !== undefined) throw new TypeError('the entry does not fit the schema')
}
