import { hideByForm } from './secrets-by-form.ts'
import { hideInEmbeddedJson, hideInJson } from './json-text.ts'
import { hideInCommands } from './command-lines.ts'
import { hideInEncoded } from './encoded-text.ts'
import { hideInMarkup } from './markup.ts'
import { firstLook } from './first-look.ts'
import { hideInMultipart } from './multipart.ts'
import { header, hideNamedValues } from './secrets-in-text.ts'
import { hiddenByNeighbours, mayTakePart } from './neighbours.ts'
import { hideFailingRow, hideInsertedValues, hideParameters } from './sql-values.ts'
import { SecretNames } from './secret-names.ts'
import { SecretValues } from './secret-values.ts'
import { type Places, placesOf } from './places.ts'

export interface RedactionRules {
  readonly keys: readonly string[]
  readonly allow: readonly string[]
  readonly places: readonly string[]
  readonly patterns: readonly RegExp[]
  readonly replacement: string
  readonly values: (() => Iterable<string>) | undefined
}

const userOptions: ReadonlySet<string> = new Set(['-u', '-U', '--user', '--proxy-user'])
const listed = new RegExp(`${header.source}|^(?:requirepass|masterauth)$`, 'i')
/** Rounds of JSON in JSON in a text. */
const deepestText = 8

/** What there is to know of a key. */
export interface Key {
  readonly json: string
  /** `,"key":` */
  readonly prefix: string
  readonly isSecret: boolean
  /** Whether it may say something of the members beside it, or they of it. */
  readonly mayTakePart: boolean
}

/** Decides by name, by place, by value and by form what must not show. Never throws. */
export class Redaction {
  readonly replacement: string
  /** As JSON. */
  readonly mark: string
  readonly places: Places
  readonly #names: SecretNames
  readonly #patterns: readonly RegExp[]
  readonly #values: (() => Iterable<string>) | undefined
  #raw: string[] = []
  #secrets: SecretValues | undefined
  readonly #keys = new Map<string, Key>()
  #depth = 0
  readonly #isSecretName = (name: string) => this.#names.has(name)
  /** Rises whenever the secret texts change, so that what was rendered before is rendered again. */
  generation = 0

  constructor(rules: RedactionRules) {
    this.replacement = rules.replacement
    this.mark = JSON.stringify(rules.replacement)
    this.places = placesOf(rules.places)
    this.#names = new SecretNames(rules.keys, rules.allow)
    // Copies with the flags that replacing takes; a sticky or stateful one of the user's is left alone.
    this.#patterns = rules.patterns.map(({ source, flags }) => new RegExp(source, `${flags.replaceAll(/[gy]/g, '')}g`))
    this.#values = rules.values
  }

  /** The length of the longest secret: a text is searched this much beyond where it will be cut. */
  get longest(): number {
    return this.#secrets?.longest ?? 0
  }

  isSecretKey(key: string): boolean {
    return this.#names.has(key)
  }

  /**
   * Whether an item of a list must not show because of the one before it: `[name, value]`, `['--password', value]`, `['-u', 'user:password']`, and
   * among others `'cookie', 'a=b'`, as raw headers have it.
   */
  hidesNext(name: unknown, item: unknown, length: number): boolean {
    if (typeof name !== 'string') return false
    if (userOptions.has(name)) return typeof item === 'string' && /:.*\D/.test(item)
    if (typeof item === 'string' && listed.test(name) && (!header.test(name) || /[ =]/.test(item))) return true
    return (length === 2 || name.startsWith('-')) && this.isSecretKey(name)
  }

  /** Names of those members that must not show because of what another one says. */
  hiddenMembers(source: object, keys: readonly string[]): ReadonlySet<string> | undefined {
    return hiddenByNeighbours(source, keys, this.#isSecretName)
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
      const secrets = new SecretValues(next)
      this.#raw = next
      this.#secrets = secrets.size > 0 ? secrets : undefined
      this.generation++
      this.#keys.clear()
    } catch {
      // A logger that lost its list must still not throw into its caller.
    }
  }

  text(text: string): string {
    const clean = this.#withoutOwn(text)
    return firstLook(clean) === 'to be searched' ? this.#searched(clean) : clean
  }

  /** The text as JSON. */
  quoted(text: string): string {
    const clean = this.#withoutOwn(text)
    const look = firstLook(clean)
    if (look === 'plain') return `"${clean}"`
    return JSON.stringify(look === 'to be searched' ? this.#searched(clean) : clean)
  }

  /** Without what the user named: secret texts and patterns. */
  #withoutOwn(text: string): string {
    let clean = this.#secrets === undefined ? text : this.#secrets.hide(text, this.replacement)
    for (const pattern of this.#patterns) clean = clean.replaceAll(pattern, this.replacement)
    return clean
  }

  #searched(text: string): string {
    let clean = text
    if (this.#depth < deepestText) {
      this.#depth++
      try {
        const json = hideInJson(clean, this)
        if (json !== undefined) return json
        if (clean.includes('"')) clean = hideInEmbeddedJson(clean, this)
        if (clean.includes('%25') || clean.includes('&') || clean.includes('eyJ') || clean.includes('eyA') || clean.includes('W3s'))
          clean = hideInEncoded(clean, (text) => this.text(text))
      } finally {
        this.#depth--
      }
    }
    clean = hideByForm(clean, this.replacement)
    if (clean.includes('<')) clean = hideInMarkup(clean, this.#isSecretName, this.replacement)
    if (clean.includes('form-data')) clean = hideInMultipart(clean, this.#isSecretName, this.replacement)
    if (clean.includes('(')) clean = hideFailingRow(hideInsertedValues(clean, this.#isSecretName, this.replacement), this.replacement)
    clean = hideParameters(clean, this.#isSecretName, this.replacement)
    clean = hideInCommands(clean, this.#isSecretName, this.replacement)
    return hideNamedValues(clean, this.#isSecretName, this.replacement)
  }

  /** Of a key of usual length, or undefined for one that has to be looked at: the same few keys stand on every line. */
  key(key: string): Key | undefined {
    if (key.length > 64) return undefined
    let known = this.#keys.get(key)
    if (known === undefined && this.text(key) === key) {
      const json = JSON.stringify(key)
      known = { json, prefix: `,${json}:`, isSecret: this.#names.has(key), mayTakePart: mayTakePart(key) }
      if (this.#keys.size >= 1_000) this.#keys.clear()
      this.#keys.set(key, known)
    }
    return known
  }

  number(value: number | bigint): boolean {
    return this.#secrets?.hasNumber(value) === true
  }
}
