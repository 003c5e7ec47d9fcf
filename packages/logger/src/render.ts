import { types } from 'node:util'
import type { Limits } from './options.ts'
import { type Redaction, redacted } from './redact.ts'

/** A key that stands for what was left out. */
const more = '…'
const needsEscape = /["\\\u0000-\u001f\ud800-\udfff]/ // oxlint-disable-line no-control-regex

export function quote(text: string): string {
  return text.length < 128 && !needsEscape.test(text) ? `"${text}"` : JSON.stringify(text)
}

/**
 * Writes any value as JSON in one walk: redacted, bounded in depth, width and length, without two equal keys, and without
 * ever throwing, whatever getters, proxies and `toJSON` do. One per line, because a getter may log itself.
 */
export class Renderer {
  readonly #redaction: Redaction
  readonly #limits: Limits
  readonly #ancestors: object[] = []
  #left: number
  /** Whether the space of the line ran out. */
  truncated = false

  constructor(redaction: Redaction, limits: Limits, space: number) {
    this.#redaction = redaction
    this.#limits = limits
    this.#left = space
  }

  /** `undefined` for what JSON has no word for: undefined and functions. */
  value(value: unknown): string | undefined {
    switch (typeof value) {
      case 'string':
        return this.text(value)
      case 'number':
        if (this.#redaction.number(value)) return this.#take(quote(redacted))
        return this.#take(Number.isFinite(value) ? String(value) : 'null')
      case 'boolean':
        return this.#take(String(value))
      case 'bigint':
        return this.#take(this.#redaction.number(value) ? quote(redacted) : `"${value}"`)
      case 'symbol':
        return this.text(String(value))
      case 'object':
        return value === null ? this.#take('null') : this.#object(value)
      case 'undefined':
      case 'function':
        return undefined
    }
  }

  text(text: string): string {
    return this.#take(quote(this.cut(text)))
  }

  /** Redacts and shortens a text without quoting it. */
  cut(text: string): string {
    const { stringLength } = this.#limits
    if (text.length <= stringLength) return this.#redaction.text(text)
    // Searched beyond the cut: a secret across it would otherwise show its beginning.
    const clean = this.#redaction.text(text.slice(0, stringLength + this.#redaction.longest))
    return `${clean.slice(0, stringLength)}… [${text.length - stringLength} more characters]`
  }

  /** `,"key":value` for each member; what `visit` refuses is left out. */
  members(source: object, visit?: (key: string) => boolean): string {
    let out = ''
    for (const key of keysOf(source)) if (visit === undefined || visit(key)) out += this.member(key, readMember(source, key))
    return out
  }

  member(key: string, value: unknown): string {
    if (this.#left <= 0) {
      this.truncated = true
      return ''
    }
    const isHidden = value !== null && typeof value !== 'boolean' && this.#redaction.isSecretKey(key)
    const json = isHidden ? (value === undefined ? undefined : this.#take(`"${redacted}"`)) : this.value(value)
    return json === undefined ? '' : `,${this.#key(key, -1)}:${json}`
  }

  /** An error without what `except` names: type, message, code, stack, its own members, cause and gathered errors. */
  errorMembers(error: Error, except?: ReadonlySet<string>): string {
    const name = readMember(error, 'name')
    const maker = readMember(error, 'constructor')
    const type = typeof name === 'string' && name !== 'Error' ? name : typeof maker === 'function' ? readMember(maker, 'name') : undefined
    const first: [string, unknown][] = [
      ['type', typeof type === 'string' ? type : 'Error'],
      ['message', readMember(error, 'message')],
      ['code', readMember(error, 'code')],
      ['stack', readMember(error, 'stack')],
    ]
    let out = ''
    for (const [key, value] of first) if (!except?.has(key)) out += this.member(key, value)
    const skip = new Set([...first.map(([key]) => key), 'name', 'cause', 'errors'])
    out += this.members(error, (key) => !skip.has(key))
    if ('cause' in error) out += this.member('cause', readMember(error, 'cause'))
    if ('errors' in error) out += this.member('errors', readMember(error, 'errors'))
    return out
  }

  #object(value: object): string {
    if (this.#ancestors.includes(value)) return this.#take('"[circular]"')
    if (this.#ancestors.length >= this.#limits.depth) return this.#take(Array.isArray(value) ? '"[list]"' : '"[object]"')
    this.#ancestors.push(value)
    try {
      return this.#members(value)
    } catch {
      return this.#take('"[unreadable]"')
    } finally {
      this.#ancestors.pop()
    }
  }

  #members(value: object): string {
    if (Array.isArray(value)) return this.#list(value, value.length)
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype !== Object.prototype && prototype !== null) {
      const special = this.#special(value)
      if (special !== undefined) return special
    }
    const { toJSON } = value as { toJSON?: unknown }
    if (typeof toJSON === 'function') return this.value((toJSON as () => unknown).call(value)) ?? this.#take('null')
    return this.#entries(value)
  }

  /** What would show as `{}`, as a list of bytes, or as half of Node. */
  #special(value: object): string | undefined {
    if (types.isNativeError(value) || value instanceof Error) return `{${this.errorMembers(value).slice(1)}}`
    if (types.isDate(value)) return this.#take(Number.isNaN(value.getTime()) ? 'null' : quote(value.toISOString()))
    if (types.isMap(value)) return this.#pairs(value.entries(), value.size)
    if (types.isSet(value)) return this.#list(value, value.size)
    if (value instanceof URL) return this.text(value.href)
    if (value instanceof Headers || value instanceof URLSearchParams) return this.#pairs(value.entries(), Number.NaN)
    if (types.isRegExp(value)) return this.text(String(value))
    if (ArrayBuffer.isView(value)) return this.#take(quote(`[${value.constructor.name} of ${value.byteLength} bytes]`))
    if (types.isAnyArrayBuffer(value)) return this.#take(quote(`[ArrayBuffer of ${value.byteLength} bytes]`))
    if (types.isPromise(value)) return this.#take('"[Promise]"')
    const { method, headers, socket, setHeader, statusCode } = value as Record<string, unknown>
    if (method && headers && socket) return this.#entries({ method, url: String((value as { url?: unknown }).url).split('?', 1)[0] })
    return typeof setHeader === 'function' ? this.#entries({ statusCode }) : undefined
  }

  #entries(value: object): string {
    const keys = keysOf(value)
    const { width } = this.#limits
    const hides = isHiddenPair(value, this.#redaction)
    let out = ''
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index] ?? ''
      if (index >= width || this.#left <= 0) {
        if (index < width) this.truncated = true
        if (!Object.hasOwn(value, more)) out += this.#take(`,"${more}":"${keys.length - index} more"`)
        break
      }
      out += hides && key === 'value' ? this.#take(`,"value":"${redacted}"`) : this.member(key, readMember(value, key))
    }
    return `{${out.slice(1)}}`
  }

  #pairs(pairs: Iterable<[unknown, unknown]>, size: number): string {
    const seen = new Set<string>()
    let out = ''
    let index = 0
    for (const [key, value] of pairs) {
      if (index >= this.#limits.width || this.#left <= 0) {
        if (!seen.has(more)) out += this.#take(`,"${more}":"${Number.isNaN(size) ? '' : `${size - index} `}more"`)
        break
      }
      const name = typeof key === 'object' && key !== null ? `[object ${index}]` : String(key)
      if (!seen.has(name)) out += this.member(name, value)
      seen.add(name)
      index++
    }
    return `{${out.slice(1)}}`
  }

  #list(items: Iterable<unknown>, size: number): string {
    let out = ''
    let index = 0
    for (const item of items) {
      if (index >= this.#limits.width || this.#left <= 0) {
        if (index < this.#limits.width) this.truncated = true
        out += this.#take(`,"${more} ${size - index} more"`)
        break
      }
      out += `,${this.value(item) ?? 'null'}`
      index++
    }
    return `[${out.slice(1)}]`
  }

  /** A name that had to be changed gets a number, so that two of them stay apart. */
  #key(key: string, index: number): string {
    const clean = this.#redaction.text(key)
    if (clean === key && key.length <= 256) return this.#take(quote(key))
    return this.#take(quote(`${clean.slice(0, 200)}… ${index < 0 ? this.#left : index}`))
  }

  #take(json: string): string {
    if (json.length <= this.#left || json.length < 16) {
      this.#left -= json.length + 1
      return json
    }
    this.truncated = true
    this.#left = 0
    return '"[truncated]"'
  }
}

export function keysOf(value: object): string[] {
  try {
    return Object.keys(value)
  } catch {
    return []
  }
}

export function readMember(value: object, key: string): unknown {
  try {
    return (value as Record<string, unknown>)[key]
  } catch {
    return '[unreadable]'
  }
}

/** `{ name: 'password', value: '…' }`, as forms and headers are often kept. */
function isHiddenPair(value: object, redaction: Redaction): boolean {
  if (!Object.hasOwn(value, 'value')) return false
  const names = [readMember(value, 'name'), readMember(value, 'key')]
  return names.some((name) => typeof name === 'string' && redaction.isSecretKey(name))
}
