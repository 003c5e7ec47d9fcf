import { types } from 'node:util'
import type { Limits } from './options.ts'
import { type Places, placesBelow } from './redaction/places.ts'
import type { Key, Redaction } from './redaction/redaction.ts'
import { secretsBegin } from './redaction/redis-commands.ts'

/** A key that stands for what was left out. */
const more = '…'
/** Members of errors that have places of their own. */
const aboutErrors: ReadonlySet<string> = new Set(['type', 'message', 'code', 'stack', 'name', 'cause', 'errors'])
const needsEscape = /["\\\u0000-\u001f\ud800-\udfff]/ // oxlint-disable-line no-control-regex

export interface ErrorFacts {
  readonly type: string | undefined
  readonly message: string | undefined
  readonly code: string | undefined
  readonly stack: string | undefined
}

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
  #places: Places
  #left: number
  /** Whether the space of the line ran out. */
  truncated = false

  constructor(redaction: Redaction, limits: Limits, space: number) {
    this.#redaction = redaction
    this.#limits = limits
    this.#left = space
    this.#places = redaction.places
  }

  /** `undefined` for what JSON has no word for: undefined and functions. */
  value(value: unknown): string | undefined {
    switch (typeof value) {
      case 'string':
        return this.text(value)
      case 'number':
        if (this.#redaction.number(value)) return this.#take(this.#redaction.mark)
        return this.#take(Number.isFinite(value) ? String(value) : 'null')
      case 'boolean':
        return this.#take(String(value))
      case 'bigint':
        return this.#take(this.#redaction.number(value) ? this.#redaction.mark : `"${value}"`)
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
    return this.#take(text.length <= this.#limits.stringLength ? this.#redaction.quoted(text) : quote(this.#cut(text)))
  }

  #cut(text: string): string {
    const { stringLength } = this.#limits
    // Searched beyond the cut: a secret across it would otherwise show its beginning.
    const clean = this.#redaction.text(text.slice(0, stringLength + this.#redaction.longest))
    return `${clean.slice(0, stringLength)}… [${text.length - stringLength} more characters]`
  }

  /** The members of an object, to be written one by one by the methods below. */
  membersOf(source: object): Members {
    return new Members(source, this.#redaction)
  }

  /** The value of a member as JSON, or `undefined` for what JSON has no word for. Without `beside` no other member says anything of it. */
  memberValue(key: string, value: unknown, beside?: Members): string | undefined {
    return this.#memberValue(key, this.#redaction.key(key), value, beside)
  }

  /** `,"key":value`, or nothing. */
  member(key: string, value: unknown, beside?: Members): string {
    const known = this.#redaction.key(key)
    const json = this.#memberValue(key, known, value, beside)
    if (json === undefined) return ''
    return known !== undefined && this.#hasRoomFor(known.json) ? known.prefix + json : `,${this.name(key)}:${json}`
  }

  #memberValue(key: string, known: Key | undefined, value: unknown, beside: Members | undefined): string | undefined {
    if (this.#left <= 0) {
      this.truncated = true
      return undefined
    }
    if (this.#places.length === 0) {
      if (!this.#hides(key, known, value, beside)) return this.value(value)
      return value === undefined ? undefined : this.#take(this.#redaction.mark)
    }
    const outer = this.#places
    this.#places = placesBelow(outer, key)
    try {
      if (this.#hides(key, known, value, beside)) return value === undefined ? undefined : this.#take(this.#redaction.mark)
      return this.value(value)
    } finally {
      this.#places = outer
    }
  }

  /** A key as JSON. One that had to be changed gets a number, so that two of them stay apart. */
  name(key: string): string {
    const known = this.#redaction.key(key)
    if (known !== undefined) return this.#take(known.json)
    const clean = key.length <= 4_096 ? this.#redaction.text(key) : this.#redaction.text(key.slice(0, 4_096))
    if (clean === key && key.length <= 256) return this.#take(quote(key))
    return this.#take(quote(`${clean.slice(0, 200)}… ${this.#left}`))
  }

  /** What an error is, as JSON and before anything else of it, so that its own extras cannot take the place. */
  errorFacts(error: Error): ErrorFacts {
    const name = readMember(error, 'name')
    const maker = readMember(error, 'constructor')
    const type = typeof name === 'string' && name !== 'Error' ? name : typeof maker === 'function' ? readMember(maker, 'name') : undefined
    return {
      type: this.memberValue('type', typeof type === 'string' ? type : 'Error'),
      message: this.memberValue('message', readMember(error, 'message')),
      code: this.memberValue('code', readMember(error, 'code')),
      stack: this.memberValue('stack', readMember(error, 'stack')),
    }
  }

  /** `,"key":value` for what an error has beyond its facts: its own members, cause and gathered errors. */
  errorExtras(error: Error, except?: ReadonlySet<string>): string {
    let out = ''
    const members = this.membersOf(error)
    for (const key of members.keys) {
      if (except?.has(key)) continue
      // Some libraries give their errors a `type` of their own.
      if (key === 'type') out += this.member('_type', readMember(error, key))
      else if (!aboutErrors.has(key)) out += this.member(key, readMember(error, key), members)
    }
    for (const key of ['cause', 'errors']) {
      if (hasMember(error, key) && !except?.has(key)) out += this.member(key, readMember(error, key))
    }
    return out
  }

  #error(error: Error): string {
    const facts = Object.entries(this.errorFacts(error)).map(([key, json]) => (json === undefined ? '' : `,"${key}":${json}`))
    return `{${(facts.join('') + this.errorExtras(error)).slice(1)}}`
  }

  #hides(key: string, known: Key | undefined, value: unknown, beside: Members | undefined): boolean {
    if (value === null) return false
    if (typeof value !== 'boolean') {
      if (known === undefined ? this.#redaction.isSecretKey(key) : known.isSecret) return true
      if (beside !== undefined && known?.mayTakePart !== false && beside.hides(key)) return true
    }
    return this.#places.length > 0 && this.#places.some(({ isHidden }) => isHidden)
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
    if (isError(value)) return this.#error(value)
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
    const members = this.membersOf(value)
    const { keys } = members
    const { width } = this.#limits
    let out = ''
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index] ?? ''
      if (index >= width || this.#left <= 0) {
        if (index < width) this.truncated = true
        if (!Object.hasOwn(value, more)) out += this.#take(`,"${more}":"${keys.length - index} more"`)
        break
      }
      out += this.member(key, readMember(value, key), members)
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
    let previous: unknown
    const from = Array.isArray(items) ? secretsBegin(items) : size
    for (const item of items) {
      if (index >= this.#limits.width || this.#left <= 0) {
        if (index < this.#limits.width) this.truncated = true
        out += this.#take(`,"${more} ${size - index} more"`)
        break
      }
      out += `,${index >= from || this.#redaction.hidesNext(previous, item, size) ? this.#take(this.#redaction.mark) : ((this.#places.length === 0 ? this.value(item) : this.memberValue(String(index), item)) ?? 'null')}`
      previous = item
      index++
    }
    return `[${out.slice(1)}]`
  }

  #hasRoomFor(json: string): boolean {
    const hasRoom = json.length <= this.#left || json.length < 16
    if (hasRoom) this.#left -= json.length + 1
    return hasRoom
  }

  #take(json: string): string {
    if (this.#hasRoomFor(json)) return json
    this.truncated = true
    this.#left = 0
    return '"[truncated]"'
  }
}

const none: ReadonlySet<string> = new Set()

/** The members of one object, of which some must not show because of what others say: found out when there is one of a name that may. */
export class Members {
  readonly keys: readonly string[]
  readonly #source: object
  readonly #redaction: Redaction
  #hidden: ReadonlySet<string> | undefined

  constructor(source: object, redaction: Redaction) {
    this.keys = keysOf(source)
    this.#source = source
    this.#redaction = redaction
  }

  hides(key: string): boolean {
    this.#hidden ??= this.#redaction.hiddenMembers(this.#source, this.keys) ?? none
    return this.#hidden.has(key)
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

export function hasMember(value: object, key: string): boolean {
  try {
    return key in value
  } catch {
    return false
  }
}

/** Also for what only stands before an error and fails at being asked. */
export function isError(value: unknown): value is Error {
  try {
    return types.isNativeError(value) || value instanceof Error
  } catch {
    return false
  }
}
