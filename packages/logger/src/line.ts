import { types } from 'node:util'
import { currentContext, type LogContext } from './context.ts'
import type { Format } from './format.ts'
import { activeSpan } from './instrumentation.ts'
import { asText, formatMessage } from './message.ts'
import type { Limits } from './options.ts'
import type { Redaction } from './redaction/redaction.ts'
import { isError, keysOf, readMember, Renderer } from './render.ts'

export type Serializers = Readonly<Record<string, (value: never) => unknown>>
export type Fields = Readonly<Record<string, unknown>>

/** What a child adds to every line of its own. */
export interface Bindings {
  readonly fields: Fields
  readonly serializers: Serializers | undefined
}

/** Fields that stay the same over many lines are rendered once for each generation of secrets. */
interface Rendered {
  readonly generation: number
  readonly keys: ReadonlySet<string>
  readonly text: string
  readonly known: string
  readonly isTruncated: boolean
}

const nothing: Fields = Object.freeze({})

/** Makes one line of what a call, its child logger and its context say. */
export class LineComposer {
  readonly #redaction: Redaction
  readonly #limits: Limits
  readonly #format: Format
  readonly #rendered = new WeakMap<object, Rendered>()

  constructor(redaction: Redaction, limits: Limits, format: Format) {
    this.#redaction = redaction
    this.#limits = limits
    this.#format = format
  }

  compose(level: string, levelValue: number, bindings: Bindings, prefix: string | undefined, args: readonly unknown[]): string {
    const timeMs = Date.now()
    this.#redaction.refresh()
    const { lineLength } = this.#limits
    // A quarter of the line each for the child, the context and the call; the last is for what the format adds.
    const renderer = new Renderer(this.#redaction, this.#limits, lineLength >> 2)
    const { fields, message: text } = this.#arguments(args, prefix)
    // Before the fields: a huge one must not push the message out.
    const message = text === undefined ? undefined : renderer.text(text)
    const context = currentContext() ?? nothing
    const thrown = this.#format.ownsError ? errorOf(fields) : undefined
    const error = thrown && { value: thrown, facts: renderer.errorFacts(thrown) }
    const own = this.#own(fields, bindings, context, renderer, thrown)
    const outer = this.#outer(bindings, context, fields)
    renderer.truncated ||= outer.isTruncated
    const parts = { level, levelValue, timeMs, span: activeSpan(), message, renderer, error }
    return this.#format.line({ ...parts, fields: outer.text + own, known: outer.known })
  }

  /** The fields and the message of a call, in pino's order: `(fields?, message?, ...params)`. An error that no placeholder takes is a field. */
  #arguments(args: readonly unknown[], prefix: string | undefined): { fields: Fields; message: string | undefined } {
    const renderer = () => new Renderer(this.#redaction, this.#limits, this.#limits.lineLength >> 2)
    const [first] = args
    const hasFields = typeof first === 'object'
    let fields: Fields = hasFields && first !== null ? asFields(first) : nothing
    const start = hasFields || first === undefined ? 1 : 0
    const text = args[start]
    const params = args.slice(start + 1)
    let message = text === undefined ? undefined : asText(text, renderer)
    if (message !== undefined && params.length > 0) {
      const formatted = formatMessage(message, params, renderer)
      message = formatted.text
      const error = formatted.rest.find(isError)
      if (error && readMember(fields, 'err') === undefined) fields = { ...fields, err: error }
      // The other order, `(message, fields)`: what no placeholder took is not lost.
      const others = formatted.rest.find((value) => typeof value === 'object' && value !== null && value !== error)
      if (others !== undefined) fields = { ...asFields(others as object), ...fields }
    }
    message ??= implied(fields)
    if (typeof text !== 'string' && message !== undefined && readMember(fields, 'msg') === message) fields = without(fields, 'msg')
    return { fields, message: prefix && message !== undefined ? prefix + message : message }
  }

  #own(fields: Fields, { serializers, fields: bound }: Bindings, context: Fields, renderer: Renderer, error: Error | undefined): string {
    if (fields === nothing) return ''
    const { reserved, member } = this.#format
    let out = ''
    let count = 0
    // An error first: what else is logged may take all the space.
    for (const key of errorFirst(keysOf(fields))) {
      if (error !== undefined && key === 'err') continue
      if (count++ >= this.#limits.width) {
        renderer.truncated = true
        break
      }
      const name = reserved.has(key) ? free(key, [fields, bound, context]) : key
      const json = renderer.memberValue(name, serialized(fields, key, serializers))
      if (json !== undefined) out += member(renderer.name(name), json)
    }
    return out
  }

  #outer(bindings: Bindings, context: LogContext, fields: Fields): { text: string; known: string; isTruncated: boolean } {
    const child = bindings.fields === nothing ? undefined : this.#layer(bindings.fields, bindings.serializers, false)
    const around = context === nothing ? undefined : this.#layer(context, undefined, true)
    const isTaken = (key: string) => Object.hasOwn(fields, key)
    const inChild = child && some(child.keys, (key) => isTaken(key) || around?.keys.has(key) === true)
    const inContext = around && some(around.keys, isTaken)
    const childText = inChild
      ? this.#render(bindings.fields, bindings.serializers, false, (key) => !isTaken(key) && !around?.keys.has(key)).text
      : child?.text
    const aroundText = inContext ? this.#render(context, undefined, true, (key) => !isTaken(key)).text : around?.text
    const isTruncated = child?.isTruncated === true || around?.isTruncated === true
    return { text: `${childText ?? ''}${aroundText ?? ''}`, known: around?.known ?? '', isTruncated }
  }

  #layer(source: Fields, serializers: Serializers | undefined, isContext: boolean): Rendered {
    const kept = this.#rendered.get(source)
    if (kept?.generation === this.#redaction.generation) return kept
    const rendered = this.#render(source, serializers, isContext, () => true)
    this.#rendered.set(source, rendered)
    return rendered
  }

  #render(source: Fields, serializers: Serializers | undefined, isContext: boolean, isWanted: (key: string) => boolean): Rendered {
    const renderer = new Renderer(this.#redaction, this.#limits, this.#limits.lineLength >> 2)
    const keys = new Set<string>()
    let text = ''
    let known = ''
    const all = keysOf(source)
    for (const key of all.slice(0, this.#limits.width)) {
      const value = serialized(source, key, serializers)
      const topLevel = isContext ? this.#format.known.get(key) : undefined
      if (topLevel !== undefined) known += renderer.member(topLevel, value)
      else if (isWanted(key)) {
        keys.add(key)
        const name = this.#format.reserved.has(key) ? free(key, [source]) : key
        const json = renderer.memberValue(name, value)
        if (json !== undefined) text += this.#format.member(renderer.name(name), json)
      }
    }
    const isTruncated = renderer.truncated || all.length > this.#limits.width
    return { generation: this.#redaction.generation, keys, text, known, isTruncated }
  }
}

function errorFirst(keys: string[]): string[] {
  return keys.includes('err') ? ['err', ...keys.filter((key) => key !== 'err')] : keys
}

function some(keys: Iterable<string>, test: (key: string) => boolean): boolean {
  for (const key of keys) if (test(key)) return true
  return false
}

function errorOf(fields: Fields): Error | undefined {
  const error = readMember(fields, 'err')
  return isError(error) ? error : undefined
}

/** What stands first in a call, as named fields. */
function asFields(first: object): Fields {
  // A trap that throws would do so at every later look: one careful look, and only its result goes on.
  if (types.isProxy(first)) return Object.fromEntries(keysOf(first).map((key) => [key, readMember(first, key)]))
  try {
    if (first instanceof Error) return { err: first }
    const { method, headers, socket, setHeader, toJSON } = first as Record<string, unknown>
    if (method && headers && socket) return { req: first }
    if (typeof setHeader === 'function') return { res: first }
    const isOneValue =
      Array.isArray(first) || typeof toJSON === 'function' || types.isMap(first) || types.isSet(first) || ArrayBuffer.isView(first)
    return isOneValue ? { value: first } : (first as Fields)
  } catch {
    return first as Fields
  }
}

function implied(fields: Fields): string | undefined {
  const message = readMember(fields, 'msg')
  if (typeof message === 'string') return message
  const error = readMember(fields, 'err')
  if (typeof error !== 'object' || error === null) return undefined
  const text = readMember(error, 'message')
  return typeof text === 'string' ? text : undefined
}

function without(fields: Fields, key: string): Fields {
  const { [key]: _, ...rest } = fields
  return rest
}

function serialized(source: Fields, key: string, serializers: Serializers | undefined): unknown {
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
function free(key: string, sources: readonly Fields[]): string {
  let name = `_${key}`
  while (sources.some((source) => Object.hasOwn(source, name))) name = `_${name}`
  return name
}
