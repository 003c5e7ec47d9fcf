import { withDeadline } from '@platform/kernel'

/** Any Standard Schema: zod, valibot, arktype and others. Only its verdict counts. */
export interface SchemaLike {
  readonly '~standard': {
    validate(value: unknown): SchemaResult | Promise<SchemaResult>
  }
}
type SchemaResult = { readonly issues?: readonly unknown[] | undefined }

/** Rejects when the value does not fit, the schema throws, or gives no verdict in time. */
export async function fits(schema: SchemaLike, value: unknown, timeoutMs: number): Promise<void> {
  const late = (): Error => new Error(`the schema gave no verdict within ${timeoutMs} ms`)
  const { issues } = await withDeadline(timeoutMs, late, async () => schema['~standard'].validate(value))
  if (issues !== undefined) throw new TypeError('the entry does not fit the schema')
}
