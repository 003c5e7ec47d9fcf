export const redacted = '[redacted]'

/** A key that is or ends with one of these holds a secret, whatever its case and separators. */
const endings = [
  'password',
  'passwords',
  'passwd',
  'passphrase',
  'secret',
  'secrets',
  'token',
  'apikey',
  'apikeys',
  'accesskey',
  'privatekey',
  'credential',
  'credentials',
  'authorization',
  'cookie',
  'cookies',
]
const exact = ['pwd', 'auth', 'rawheaders', 'cardnumber', 'cvv', 'cvc', 'iban']
/** Shorter texts would be found everywhere and tell more about a secret than they hide. */
const minSecretLength = 4
const maxKnownKeys = 2_000
const credentialsInUrl = /:\/\/([^\s:@/]{0,256}):[^\s@/]{1,1024}@/g
const parameter = /([?&]([^=&?#\s]{1,64})=)[^&#\s]+/g
const jsonMember = /("([^"\\]{1,64})"\s?:\s?)"(?:[^"\\]|\\.)*"?/g
const bearer = /\bBearer [\w.~+/=-]{8,}/g

/** Decides by name and by value what must not show. */
export class Redaction {
  readonly #exact: ReadonlySet<string>
  readonly #values: (() => Iterable<string>) | undefined
  readonly #known = new Map<string, boolean>()
  #raw: string[] = []
  #secrets: string[] = []
  #longest = 0
  /** Rises whenever the secret texts change, so that what was rendered before is rendered again. */
  generation = 0

  constructor(keys: readonly string[], values: (() => Iterable<string>) | undefined) {
    this.#exact = new Set([...exact, ...keys.map(plain)])
    this.#values = values
  }

  /** The length of the longest secret: a text is searched this much beyond where it will be cut. */
  get longest(): number {
    return this.#longest
  }

  isSecretKey(key: string): boolean {
    let known = this.#known.get(key)
    if (known === undefined) {
      const name = plain(key.slice(0, 256))
      known = this.#exact.has(name) || endings.some((ending) => name.endsWith(ending))
      if (this.#known.size < maxKnownKeys) this.#known.set(key, known)
    }
    return known
  }

  /** Asks for the secret texts; keeps the old ones when that fails. */
  refresh(): void {
    if (!this.#values) return
    try {
      let index = 0
      let isSame = true
      const next: string[] = []
      for (const value of this.#values()) {
        isSame &&= this.#raw[index] === value
        next.push(value)
        index++
      }
      if (isSame && index === this.#raw.length) return
      this.#raw = next
      this.#secrets = next
        .filter((value) => typeof value === 'string' && value.length >= minSecretLength)
        .toSorted((left, right) => right.length - left.length)
      this.#longest = this.#secrets[0]?.length ?? 0
      this.generation++
    } catch {
      // A logger that lost its list must still not throw into its caller.
    }
  }

  text(text: string): string {
    let clean = text
    for (const secret of this.#secrets) if (clean.includes(secret)) clean = clean.replaceAll(secret, redacted)
    return this.#patterns(clean)
  }

  /** Secrets whose text nobody told: in an URL, in its query, in JSON that became a text, after `Bearer`. */
  #patterns(text: string): string {
    let clean = text
    const hide = (mark: string) => (all: string, head: string, key: string) => (this.isSecretKey(key) ? `${head}${mark}` : all)
    if (clean.includes('://') && clean.includes('@')) clean = clean.replace(credentialsInUrl, `://$1:${redacted}@`)
    if (clean.includes('=') && (clean.includes('?') || clean.includes('&'))) clean = clean.replace(parameter, hide(redacted))
    if (clean.includes('":') || clean.includes('" :')) clean = clean.replace(jsonMember, hide(`"${redacted}"`))
    return clean.includes('Bearer ') ? clean.replace(bearer, `Bearer ${redacted}`) : clean
  }

  number(value: number | bigint): boolean {
    return this.#secrets.length > 0 && this.#secrets.includes(String(value))
  }
}

function plain(key: string): string {
  return key.toLowerCase().replace(/[-_.\s]/g, '')
}
