import { deserialize, serialize } from 'node:v8'
import { CacheError } from './errors.ts'

/** How values travel through l2. A value that went through it is what every caller sees, also the one whose factory made it. */
export type Serializer =
  | {
      /** Part of the stored envelope: entries written by another serializer are misses. 1 to 32 characters out of A-Z a-z 0-9 _ . - */
      readonly name: string
      readonly binary?: false | undefined
      encode(value: unknown): string
      decode(body: string): unknown
    }
  | { readonly name: string; readonly binary: true; encode(value: unknown): Uint8Array; decode(body: Uint8Array): unknown }

/** JSON: dates become strings, Map and Set become {}, NaN becomes null, BigInt and cycles throw. */
export const jsonSerializer: Serializer = {
  name: 'json',
  encode(value) {
    const body = JSON.stringify(value) as string | undefined
    if (body === undefined) throw new TypeError('the value has no JSON form')
    return body
  },
  decode: (body) => JSON.parse(body) as unknown,
}

/**
 * The structured clone of Node: dates, maps, sets, bigints, buffers, typed arrays, NaN, undefined and cycles come back as they were; functions and
 * symbols throw. Half as fast as JSON for small values. Whoever can write to l2 can feed it bytes: for servers that only services of yours reach.
 */
export const v8Serializer: Serializer = {
  // The version of the wire format: a Node that writes another one takes the entries for misses.
  name: `v8-${serialize(0)[1]}`,
  binary: true,
  encode: (value) => serialize(value),
  decode: (body) => deserialize(body) as unknown,
}

export type Body = string | Uint8Array

/** What l2 is to hold, and the value as it comes out of there: what every caller gets, the first one too. */
export function throughSerializer(serializer: Serializer, namespace: string, value: unknown): { body: Body; value: unknown } {
  try {
    const body: unknown = serializer.encode(value)
    if (serializer.binary ? body instanceof Uint8Array : typeof body === 'string')
      return { body: body as Body, value: decode(serializer, body as Body) }
    // A promise, perhaps, whose rejection would be nobody's.
    Promise.resolve(body).catch(() => undefined)
    throw new TypeError(`the serializer made ${serializer.binary ? 'no Uint8Array' : 'no string'}`)
  } catch (cause) {
    throw new CacheError('ERR_CACHE_NOT_SERIALIZABLE', undefined, { cause, namespace })
  }
}

/** Throws what the serializer throws; a body of the other kind is foreign. */
export function decode(serializer: Serializer, body: Body): unknown {
  if (serializer.binary) return serializer.decode(typeof body === 'string' ? Buffer.from(body) : body)
  return serializer.decode(typeof body === 'string' ? body : Buffer.from(body).toString())
}

/** How values in l1 are handed out. */
export type Isolation = 'shared' | 'frozen' | 'copied'

/**
 * Freezes plain objects and arrays all the way down, also below what is frozen already; other objects (dates, maps, buffers) only outside, since
 * freezing does not reach what they hold. Getters are not asked.
 */
export function freezeDeep<T>(value: T): T {
  const seen = new Set<object>()
  const left: unknown[] = [value]
  while (left.length > 0) {
    const part = left.pop()
    if (typeof part !== 'object' || part === null || seen.has(part) || ArrayBuffer.isView(part)) continue
    seen.add(Object.freeze(part))
    for (const name of Reflect.ownKeys(part)) left.push(Object.getOwnPropertyDescriptor(part, name)?.value)
  }
  return value
}

/** The structured clone for a caller of `values: 'copied'`. */
export function copyOf<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  try {
    return structuredClone(value)
  } catch (cause) {
    throw new CacheError('ERR_CACHE_NOT_SERIALIZABLE', "the value cannot be copied, which values: 'copied' needs", { cause })
  }
}
