import { type ArgumentMetadata, BadRequestException, type PipeTransform } from '@nestjs/common'
import { problemErrors, type SchemaIssue } from './problem.ts'

/** What is used of a schema: [Standard Schema](https://standardschema.dev), which zod 4 is. */
export interface SchemaLike<T> {
  readonly '~standard': {
    validate(value: unknown): Outcome<T> | Promise<Outcome<T>>
  }
}

type Outcome<T> = { readonly value: T; readonly issues?: undefined } | { readonly issues: readonly SchemaIssue[] }

/**
 * `@Body(new ZodPipe(schema)) order: Order`. What does not fit is answered with 400 and one entry in `errors` for each fault. Without a schema
 * of its own, as a global pipe, it takes the parameter's: `@Body({ schema }) order: Order`, which Nest 12 knows and `@nestjs/swagger` 12 documents.
 */
export class ZodPipe<T> implements PipeTransform<unknown, Promise<T>> {
  readonly #schema: SchemaLike<T> | undefined

  constructor(schema?: SchemaLike<T>) {
    this.#schema = schema
  }

  async transform(value: unknown, metadata?: ArgumentMetadata & { readonly schema?: unknown }): Promise<T> {
    const schema = this.#schema ?? (metadata?.schema as SchemaLike<T> | undefined)
    if (schema === undefined) return value as T
    const outcome = await schema['~standard'].validate(value)
    if (outcome.issues === undefined) return outcome.value
    const errors = problemErrors(outcome.issues, metadata?.data === undefined ? [] : [metadata.data])
    throw new BadRequestException({ message: 'the request is not valid', errors })
  }
}
