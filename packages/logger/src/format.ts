import type { SpanIds } from './instrumentation.ts'
import type { ErrorFacts, Members, Renderer } from './render.ts'

export interface LineParts {
  readonly level: string
  readonly levelValue: number
  readonly timeMs: number
  readonly span: SpanIds | undefined
  /** The fields of the child, the context and the call, each as `member` writes it, no key twice. */
  readonly fields: string
  /** `,"key":value` for the fields of the context that this format has names for. */
  readonly known: string
  /** The error of a line that the format writes itself; its facts were written before the fields, which may take all the space. */
  readonly error: { readonly value: Error; readonly facts: ErrorFacts } | undefined
  /** `error.id`: the same for errors of one kind. */
  readonly errorId: string | undefined
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
  /** One field, or nothing for what JSON has no word for. `beside` are the fields that it stands among. */
  member(this: void, renderer: Renderer, key: string, value: unknown, beside: Members): string
  /** One line with its line break. */
  line(parts: LineParts): string
}
