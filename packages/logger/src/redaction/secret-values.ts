/** Shorter texts would be found everywhere and tell more about a secret than they hide. */
const minLength = 4
/** The hash of a position is made of its last four characters: five bits each, what is older has been shifted out. */
const gram = 4
const mask = (1 << 20) - 1

/**
 * Finds texts that must not show, raw and in the forms in which they travel (JSON, percent and form encoding, base64), in one pass whose price
 * does not depend on how many there are: a table says at each position whether any form begins four characters back.
 */
export class SecretValues {
  readonly #mayBegin = new Uint8Array(1 << 17)
  readonly #byHash = new Map<number, string[]>()
  readonly #numbers: ReadonlySet<string>
  /** Characters of the longest form. */
  readonly longest: number

  constructor(values: Iterable<unknown>) {
    const texts = new Set<string>()
    for (const value of values) if (typeof value === 'string' && value.length >= minLength) texts.add(value)
    const forms = new Set([...texts].flatMap(formsOf))
    for (const form of [...forms].toSorted((left, right) => right.length - left.length)) {
      const hash = hashOf(form)
      this.#mayBegin[hash >> 3]! |= 1 << (hash & 7)
      const sharing = this.#byHash.get(hash)
      if (sharing) sharing.push(form)
      else this.#byHash.set(hash, [form])
    }
    this.#numbers = texts
    this.longest = Math.max(0, ...[...forms].map(({ length }) => length))
  }

  get size(): number {
    return this.#numbers.size
  }

  hasNumber(value: number | bigint): boolean {
    return this.#numbers.has(String(value))
  }

  /** The text with each form replaced. */
  hide(text: string, replacement: string): string {
    if (text.length < minLength) return text
    let out = ''
    let kept = 0
    let hash = 0
    for (let index = 0; index < text.length; index++) {
      hash = ((hash << 5) ^ text.charCodeAt(index)) & mask
      const start = index - gram + 1
      if (start < kept || ((this.#mayBegin[hash >> 3]! >> (hash & 7)) & 1) === 0) continue
      const found = this.#byHash.get(hash)?.find((form) => text.startsWith(form, start))
      if (found === undefined) continue
      out += text.slice(kept, start) + replacement
      kept = start + found.length
      index = kept - 1
      hash = 0
    }
    return kept === 0 ? text : out + text.slice(kept)
  }
}

function hashOf(form: string): number {
  let hash = 0
  for (let index = 0; index < gram; index++) hash = ((hash << 5) ^ form.charCodeAt(index)) & mask
  return hash
}

function formsOf(secret: string): string[] {
  const json = JSON.stringify(secret).slice(1, -1)
  const ascii = json.replaceAll(/[\u0080-\uffff]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
  const percent = encodeURIComponent(secret.toWellFormed())
  const form = new URLSearchParams({ x: secret }).toString().slice(2)
  const forms = [
    secret,
    json,
    JSON.stringify(json).slice(1, -1),
    ascii,
    percent,
    lowerHex(percent),
    form,
    lowerHex(form),
    encodeURI(secret.toWellFormed()),
  ]
  return [...new Set([...forms, ...base64Forms(secret)])].filter(({ length }) => length >= minLength)
}

function lowerHex(encoded: string): string {
  return encoded.replaceAll(/%[0-9A-F]{2}/g, (hex) => hex.toLowerCase())
}

/** What base64 of a longer text shows of the secret in it, at each of the three places where it can begin; the ends mix with their neighbours. */
function base64Forms(secret: string): string[] {
  const bytes = Buffer.from(secret)
  return [0, 1, 2].flatMap((before) => {
    const encoded = Buffer.concat([Buffer.alloc(before), bytes])
      .toString('base64')
      .replaceAll('=', '')
    const shown = encoded.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6))
    return shown.length < 8 ? [] : [shown, shown.replaceAll('+', '-').replaceAll('/', '_')]
  })
}
