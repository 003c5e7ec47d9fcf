import type { Format } from './format.ts'
import type { Limits } from './options.ts'
import type { Redaction } from './redaction/redaction.ts'
import { readMember, Renderer } from './render.ts'

export type Serializers = Readonly<Record<string, (value: never) => unknown>>
export type Fields = Readonly<Record<string, unknown>>

/** How a logger writes: what it hides, how much it writes, and in which form. */
export interface Style {
  readonly redaction: Redaction
  readonly limits: Limits
  readonly format: Format
}

export interface Rendered {
  readonly keys: readonly string[]
  readonly text: string
  /** What the format has names of its own for. */
  readonly known: string
  readonly isTruncated: boolean
}

/** Fields that stay the same over many lines: a child's, or a context's. Kept as the logger wrote them that asked last. */
export class Layer {
  readonly fields: Fields
  readonly serializers: Serializers | undefined
  readonly #isContext: boolean
  #style: Style | undefined
  #generation = -1
  #rendered: Rendered | undefined

  constructor(fields: Fields, serializers: Serializers | undefined, isContext = false) {
    this.fields = fields
    this.serializers = serializers
    this.#isContext = isContext
  }

  rendered(style: Style): Rendered {
    if (this.#rendered === undefined || this.#style !== style || this.#generation !== style.redaction.generation) {
      this.#rendered = this.render(style)
      this.#style = style
      this.#generation = style.redaction.generation
    }
    return this.#rendered
  }

  /** Without the fields that something nearer to the line has, too. */
  render({ redaction, limits, format }: Style, isTaken?: (key: string) => boolean): Rendered {
    const renderer = new Renderer(redaction, limits, limits.lineLength >> 2)
    const keys: string[] = []
    let text = ''
    let known = ''
    const members = renderer.membersOf(this.fields)
    const count = Math.min(members.keys.length, limits.width)
    for (let index = 0; index < count; index++) {
      const key = members.keys[index]!
      const value = serialized(this.fields, key, this.serializers)
      const topLevel = this.#isContext ? format.known.get(key) : undefined
      if (topLevel !== undefined) known += renderer.member(topLevel, value, members)
      else if (isTaken === undefined || !isTaken(key)) {
        keys.push(key)
        text += format.member(renderer, format.reserved.has(key) ? free(key, [this.fields]) : key, value, members)
      }
    }
    return { keys, text, known, isTruncated: renderer.truncated || members.keys.length > count }
  }
}

export function serialized(source: Fields, key: string, serializers: Serializers | undefined): unknown {
  const value = readMember(source, key)
  const serializer = serializers && Object.hasOwn(serializers, key) ? serializers[key] : undefined
  if (!serializer) return value
  try {
    return serializer(value as never)
  } catch {
    return '[serializer failed]'
  }
}

/** A field that would take the place of one of ours gets an underscore. */
export function free(key: string, sources: readonly Fields[]): string {
  let name = `_${key}`
  while (sources.some((source) => Object.hasOwn(source, name))) name = `_${name}`
  return name
}
