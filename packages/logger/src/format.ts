import type { SpanIds } from './instrumentation.ts'
import type { Renderer } from './render.ts'

export interface LineParts {
  readonly level: string
  readonly levelValue: number
  readonly timeMs: number
  readonly span: SpanIds | undefined
  /** `,"key":value` for each field of the child, the context and the call, no key twice. */
  readonly fields: string
  /** `,"key":value` for the fields of the context that this format has names for. */
  readonly known: string
  readonly error: Error | undefined
  /** As JSON. */
  readonly message: string | undefined
  readonly renderer: Renderer
}

/** How a line looks. */
export interface Format {
  /** Top-level keys that fields must not take. */
  readonly reserved: ReadonlySet<string>
  /** Names that fields of the context have at the top level. */
  readonly known: ReadonlyMap<string, string>
  /** Whether the error of a line is written by the format instead of as the field `err`. */
  readonly ownsError: boolean
  /** One line with its line break. */
  line(parts: LineParts): string
}
