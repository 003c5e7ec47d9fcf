import { inspect } from 'node:util'
import { type ZodType, z, type infer as Infer } from 'zod'

const mask = '[secret]'
const brand = Symbol.for('@platform/config.Secret')
/** Marks the transformation that wraps a secret, so that a schema still shows it after `.optional()`, `.describe()` and the like. */
const secretTransform = Symbol.for('@platform/config.secret')

/** A value that prints as `[secret]` everywhere; only `reveal()` gives it. */
export class Secret<T = string> {
  readonly #value: T

  constructor(value: T) {
    this.#value = value
    Object.defineProperties(this, { [brand]: { value: true }, [inspect.custom]: { value: () => mask } })
    Object.freeze(this)
  }

  reveal(): T {
    return this.#value
  }

  toString(): string {
    return mask
  }

  toJSON(): string {
    return mask
  }

  [Symbol.toPrimitive](): string {
    return mask
  }

  /** Also true for a secret of another installed copy of this package. */
  static isInstance(value: unknown): value is Secret<unknown> {
    return typeof value === 'object' && value !== null && brand in value
  }
}

/** A setting that never shows: `secret(z.string().min(8))`. It arrives as `Secret<T>`. */
export function secret<S extends ZodType>(schema: S): ZodType<Secret<Infer<S>>> {
  const wrap = Object.assign((value: unknown) => new Secret(value), { [secretTransform]: true })
  return z.pipe(schema as ZodType, z.transform(wrap)) as unknown as ZodType<Secret<Infer<S>>>
}

export function isSecretTransform(transform: unknown): boolean {
  return typeof transform === 'function' && secretTransform in transform
}

/** The texts by which a secret can leak: every string in it, and the password inside when it is an URL. */
export function secretTexts(value: unknown): string[] {
  if (Secret.isInstance(value)) return secretTexts(value.reveal())
  if (typeof value === 'number' || typeof value === 'bigint') return [String(value)]
  if (typeof value === 'object' && value !== null) return Object.values(value).flatMap(secretTexts)
  if (typeof value !== 'string' || value === '') return []
  const passwords = [URL.canParse(value) ? new URL(value).password : '', writtenPassword(value)].filter((text) => text !== '')
  return [...new Set([value, ...passwords, ...passwords.flatMap(decoded)])]
}

/** Between the first colon behind `//` and the last `@`: also of an address that is no URL, because of several hosts or a `#` in it. */
function writtenPassword(address: string): string {
  const from = address.indexOf('://')
  const to = address.lastIndexOf('@')
  const colon = address.indexOf(':', from + 3)
  return from < 0 || colon < 0 || colon > to ? '' : address.slice(colon + 1, to)
}

function decoded(text: string): string[] {
  try {
    const plain = decodeURIComponent(text)
    return plain === text ? [] : [plain]
  } catch {
    return []
  }
}
