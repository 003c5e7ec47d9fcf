/** Of a name on the wire, with the lengths of its labels; RFC 1035. */
const LONGEST_NAME = 255
const LONGEST_LABEL = 63
const POINTER = 0xc0

/**
 * The name that begins here, in lower case and without the last dot, and where what follows it begins. A byte that no host name has is written as
 * `\ddd`. Undefined: there is none. Pointers lead backwards only, so every name ends.
 */
export function readName(message: Buffer, start: number): { name: string; end: number } | undefined {
  const labels: string[] = []
  let [at, run, length] = [start, start, 1]
  let end: number | undefined
  for (;;) {
    const size = message[at]
    if (size === undefined) return undefined
    if (size === 0) return { name: labels.join('.'), end: end ?? at + 1 }
    if (size >= POINTER) {
      const low = message[at + 1]
      const target = ((size - POINTER) << 8) | (low ?? 0)
      if (low === undefined || target >= run) return undefined
      end ??= at + 2
      at = run = target
      continue
    }
    length += size + 1
    if (size > LONGEST_LABEL || length > LONGEST_NAME || at + size >= message.length) return undefined
    labels.push(labelText(message.subarray(at + 1, at + 1 + size)))
    at += size + 1
  }
}

/** A name that `isDomainName` accepts, or the empty one of the root. */
export function nameBytes(name: string): Buffer {
  const labels = name === '' ? [] : name.split('.')
  return Buffer.concat([...labels.map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`, 'latin1')), Buffer.of(0)])
}

/** Whether it can be asked for: labels of letters, digits, `-` and `_`, as long as the wire allows. */
export function isDomainName(text: string): boolean {
  return text.length <= LONGEST_NAME - 2 && text.split('.').every((label) => /^[\w-]{1,63}$/.test(label))
}

function labelText(bytes: Buffer): string {
  const text = bytes.toString('latin1')
  if (/^[\w-]*$/.test(text)) return text.toLowerCase()
  return Array.from(bytes, (byte) => {
    const character = String.fromCharCode(byte)
    return /[\w-]/.test(character) ? character.toLowerCase() : `\\${String(byte).padStart(3, '0')}`
  }).join('')
}
