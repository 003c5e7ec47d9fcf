import { type ArgumentMetadata, BadRequestException, type PipeTransform } from '@nestjs/common'
import { problemErrors, type ZodIssue } from './problem.ts'

/** The part of a zod schema that is used. */
export interface SchemaLike<T> {
  safeParseAsync(value: unknown): Promise<{ success: true; data: T } | { success: false; error: { issues: readonly ZodIssue[] } }>
}

/** `@Body(new ZodPipe(schema)) order: Order`. What does not fit is answered with 400 and one entry in `errors` for each fault. */
export class ZodPipe<T> implements PipeTransform<unknown, Promise<T>> {
  readonly #schema: SchemaLike<T>

  constructor(schema: SchemaLike<T>) {
    this.#schema = schema
  }

  async transform(value: unknown, metadata?: ArgumentMetadata): Promise<T> {
    const result = await this.#schema.safeParseAsync(value)
    if (result.success) return result.data
    const errors = problemErrors(result.error.issues, metadata?.data === undefined ? [] : [metadata.data])
    throw new BadRequestException({ message: 'the request is not valid', errors })
  }
}
