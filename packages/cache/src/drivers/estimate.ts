/** Sizes of V8 on 64 bits, without compressed pointers: what Node has. */
const word = 8
const objectBytes = 3 * word
const arrayBytes = 6 * word
/** A number that is no small integer lives in a box, unless an array holds nothing else. */
const boxBytes = 2 * word
const dateBytes = 96
/** Of a view with a buffer of its own, beside the bytes. */
const viewBytes = 160
/** An empty object keeps room for four properties. */
const emptyRoom = 4

/**
 * Heap of a value in bytes; stops counting above `limit`. Shared parts and cycles count once. Names of properties cost nothing: objects of one shape
 * share them. Getters are not asked.
 */
export function estimateBytes(value: unknown, limit: number): number {
  if (typeof value !== 'object' || value === null) return leafBytes(value)
  let bytes = 0
  const seen = new Set<object>([value])
  const left: object[] = [value]
  const add = (part: unknown): void => {
    if (typeof part !== 'object' || part === null) bytes += leafBytes(part)
    else if (!seen.has(part)) {
      seen.add(part)
      left.push(part)
    }
  }
  for (let part = left.pop(); part !== undefined && bytes <= limit; part = left.pop()) {
    if (Array.isArray(part)) {
      bytes += arrayBytes + part.length * word
      if (bytes > limit) break
      // One that holds numbers only holds them without boxes.
      if (typeof part[0] !== 'number' || typeof part.at(-1) !== 'number') for (const item of part) add(item)
    } else if (ArrayBuffer.isView(part) || part instanceof ArrayBuffer) bytes += viewBytes + part.byteLength
    else if (part instanceof Map) {
      bytes += tableBytes(part.size, 3)
      if (bytes > limit) break
      for (const [key, item] of part) {
        add(key)
        add(item)
      }
    } else if (part instanceof Set) {
      bytes += tableBytes(part.size, 2)
      if (bytes > limit) break
      for (const item of part) add(item)
    } else if (part instanceof Date) bytes += dateBytes
    else {
      const names = Object.keys(part)
      bytes += objectBytes + (names.length || emptyRoom) * word
      for (const name of names) add(Object.getOwnPropertyDescriptor(part, name)?.value)
    }
  }
  return bytes
}

function leafBytes(value: unknown): number {
  if (typeof value === 'string') return textBytes(value)
  if (typeof value === 'bigint') return boxBytes + word
  return typeof value === 'number' && (value | 0) !== value ? boxBytes : 0
}

/** A tag's record and its place in the map. */
export function tagBytes(name: string): number {
  return 112 + textBytes(name)
}

/** Of one character there is one for all. */
export function textBytes(text: string): number {
  if (text.length < 2) return 0
  return 2 * word + Math.ceil((text.length * (isWide(text) ? 2 : 1)) / word) * word
}

/** A text with one character beyond Latin-1 takes two bytes for each. */
function isWide(text: string): boolean {
  return Buffer.byteLength(text) !== text.length && /[^\0-\xff]/.test(text)
}

/** A hash table of V8, which doubles. */
function tableBytes(size: number, wordsAnEntry: number): number {
  const capacity = Math.max(4, 2 ** Math.ceil(Math.log2(size || 1)))
  return objectBytes + (5 + capacity / 2 + capacity * wordsAnEntry) * word
}
