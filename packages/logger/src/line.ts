import { types } from 'node:util'
import { currentContext } from './context.ts'
import { fingerprint } from './fingerprint.ts'
import { activeSpan } from './instrumentation.ts'
import { type Fields, free, type Layer, type Rendered, serialized, type Style } from './layer.ts'
import { asText, formatMessage } from './message.ts'
import { isError, keysOf, readMember, Renderer } from './render.ts'

const nothing: Fields = Object.freeze({})

interface Call {
  fields: Fields
  message: string | undefined
}

/** Makes one line of what a call, its child logger and its context say. */
export class LineComposer {
  readonly #style: Style
  readonly #newRenderer: () => Renderer

  constructor(style: Style) {
    const { redaction, limits } = style
    this.#style = style
    // A quarter of the line each for the child, the context and the call; the last is for what the format adds.
    this.#newRenderer = () => new Renderer(redaction, limits, limits.lineLength >> 2)
  }

  compose(level: string, levelValue: number, child: Layer | undefined, prefix: string | undefined, args: readonly unknown[]): string {
    const timeMs = Date.now()
    const { redaction, format } = this.#style
    redaction.refresh()
    const renderer = this.#newRenderer()
    const call = this.#arguments(args, prefix)
    const { fields } = call
    // Before the fields: a huge one must not push the message out.
    const message = call.message === undefined ? undefined : renderer.text(call.message)
    const context = currentContext()
    const err = errorOf(fields)
    const thrown = format.ownsError ? err : undefined
    const error = thrown && { value: thrown, facts: renderer.errorFacts(thrown) }
    const own = fields === nothing ? '' : this.#own(fields, child, context, renderer, err)
    const around = context?.rendered(this.#style)
    const inner = child?.rendered(this.#style)
    renderer.truncated ||= around?.isTruncated === true || inner?.isTruncated === true
    const outer = this.#childText(child, inner, around, fields) + this.#contextText(context, around, fields)
    return format.line({
      level,
      levelValue,
      timeMs,
      span: activeSpan(),
      message,
      renderer,
      error,
      errorId: err && fingerprint(err),
      fields: outer + own,
      known: around?.known ?? '',
    })
  }

  /** The fields and the message of a call, in pino's order: `(fields?, message?, ...params)`. An error that no placeholder takes is a field. */
  #arguments(args: readonly unknown[], prefix: string | undefined): Call {
    const [first] = args
    const hasFields = typeof first === 'object'
    let fields: Fields = hasFields && first !== null ? asFields(first) : nothing
    const start = hasFields || first === undefined ? 1 : 0
    const text = args[start]
    let message = text === undefined ? undefined : asText(text, this.#newRenderer)
    if (message !== undefined && args.length > start + 1) {
      const formatted = formatMessage(message, args.slice(start + 1), this.#newRenderer)
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

  #own(fields: Fields, child: Layer | undefined, context: Layer | undefined, renderer: Renderer, error: Error | undefined): string {
    const { format, limits } = this.#style
    let out = ''
    let count = 0
    const members = renderer.membersOf(fields)
    // An error first: what else is logged may take all the space.
    for (const key of error === undefined ? members.keys : errorFirst(members.keys)) {
      if (error !== undefined && format.ownsError && key === 'err') continue
      if (count++ >= limits.width) {
        renderer.truncated = true
        break
      }
      const name = format.reserved.has(key) ? free(key, [fields, child?.fields ?? nothing, context?.fields ?? nothing]) : key
      out += format.member(renderer, name, serialized(fields, key, child?.serializers), members)
    }
    return out
  }

  /** What the child adds and neither the context nor the call has. */
  #childText(child: Layer | undefined, rendered: Rendered | undefined, around: Rendered | undefined, fields: Fields): string {
    if (child === undefined || rendered === undefined) return ''
    if (fields === nothing && around === undefined) return rendered.text
    const isTaken = (key: string) => Object.hasOwn(fields, key) || around?.keys.includes(key) === true
    return rendered.keys.some(isTaken) ? child.render(this.#style, isTaken).text : rendered.text
  }

  #contextText(context: Layer | undefined, around: Rendered | undefined, fields: Fields): string {
    if (context === undefined || around === undefined) return ''
    const isTaken = (key: string) => Object.hasOwn(fields, key)
    return around.keys.some(isTaken) ? context.render(this.#style, isTaken).text : around.text
  }
}

function errorFirst(keys: readonly string[]): readonly string[] {
  return keys.includes('err') ? ['err', ...keys.filter((key) => key !== 'err')] : keys
}

function errorOf(fields: Fields): Error | undefined {
  const error = readMember(fields, 'err')
  return error !== undefined && isError(error) ? error : undefined
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
