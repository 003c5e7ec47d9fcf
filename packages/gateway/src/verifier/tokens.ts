import { hash } from 'node:crypto'
import { errors, type JWTPayload, jwtVerify } from 'jose'
import { singleFlight } from '@platform/resilience'
import type { IdentityProvider } from '../gateway-file.ts'
import type { LoggerLike } from '../logger-like.ts'
import { KeySet, NoKeysError } from './key-set.ts'

export interface Identity {
  readonly subject: string
  readonly scopes: ReadonlySet<string>
  /** By the name of the header, ready to be sent. */
  readonly claims: ReadonlyMap<string, string>
}

export type TokenVerdict =
  | { readonly identity: Identity }
  | { readonly refused: 'missing' | 'malformed' | 'invalid' | 'expired' | 'unavailable'; readonly detail: string }

interface Cached {
  readonly identity: Identity
  /** On the wall clock, as the token's own. */
  readonly untilMs: number
}

const mostVerdicts = 20_000
const longestToken = 16_384
/** nginx takes headers of a verdict up to 32 KiB; a claim is cut off far below that. */
const longestClaim = 1_500

/** The tokens of one identity provider. What was verified is kept, by the token's hash, until it expires or the provider's keys change. */
export class Tokens {
  readonly #provider: IdentityProvider
  readonly #keys: KeySet
  readonly #cache = new Map<string, Cached>()
  readonly #flights = singleFlight<TokenVerdict>()
  #generation = 0

  constructor(name: string, provider: IdentityProvider, logger: LoggerLike) {
    this.#provider = provider
    const onChange = (): void => {
      this.#generation++
      this.#cache.clear()
    }
    this.#keys = new KeySet({ provider: name, url: provider.jwksUri, logger, onChange })
  }

  get hasKeys(): boolean {
    return this.#keys.isKnown
  }

  warm(): Promise<void> {
    return this.#keys.warm()
  }

  /** A promise only for a token that is not known. */
  verify(authorization: string | undefined): TokenVerdict | Promise<TokenVerdict> {
    if (authorization === undefined || authorization === '') return { refused: 'missing', detail: 'a bearer token is needed' }
    const token = /^bearer +([\w~+/.-]+=*)$/i.exec(authorization)?.[1]
    if (token === undefined || token.length > longestToken)
      return { refused: 'malformed', detail: 'the Authorization header holds no bearer token' }
    const key = hash('sha256', token, 'base64')
    const cached = this.#cache.get(key)
    if (cached !== undefined) {
      if (Date.now() < cached.untilMs) return cached
      this.#cache.delete(key)
    }
    return this.#flights.run(key, () => this.#decide(token, key))
  }

  async #decide(token: string, key: string): Promise<TokenVerdict> {
    const { issuer, audience, algorithms, clockToleranceMs } = this.#provider
    const generation = this.#generation
    try {
      const { payload } = await jwtVerify(token, this.#keys.key, {
        issuer,
        audience,
        algorithms,
        clockTolerance: clockToleranceMs / 1000,
        requiredClaims: ['exp', 'sub'],
      })
      const identity = this.#identityOf(payload)
      if (identity === undefined) return { refused: 'invalid', detail: 'a claim of the token is too long or of the wrong type' }
      if (generation === this.#generation) this.#keep(key, { identity, untilMs: payload.exp! * 1000 + clockToleranceMs })
      return { identity }
    } catch (error) {
      return refusal(error)
    }
  }

  #keep(key: string, verdict: Cached): void {
    if (this.#cache.size >= mostVerdicts) this.#cache.delete(this.#cache.keys().next().value!)
    this.#cache.set(key, verdict)
  }

  #identityOf(payload: JWTPayload): Identity | undefined {
    // A number and its text would be one subject.
    const subject = typeof payload.sub === 'string' ? headerText(payload.sub) : undefined
    const scopes = scopesOf(payload)
    if (subject === undefined || subject === '' || scopes === undefined) return undefined
    const claims = new Map<string, string>()
    for (const { name, claim } of this.#provider.identityHeaders) {
      if (!Object.hasOwn(payload, claim)) continue
      const text = headerText(payload[claim])
      if (text === undefined) return undefined
      claims.set(name.toLowerCase(), text)
    }
    return { subject, scopes, claims }
  }
}

function scopesOf(payload: JWTPayload): Set<string> | undefined {
  const said = payload['scope'] ?? payload['scp'] ?? ''
  const list: unknown = typeof said === 'string' ? said.split(' ').filter((scope) => scope !== '') : said
  if (!Array.isArray(list) || !list.every((scope) => typeof scope === 'string')) return undefined
  const texts = list.map(headerText)
  return texts.some((text) => text === undefined) || texts.join(' ').length > longestClaim ? undefined : new Set(texts as string[])
}

/** Percent-encoded but for what any header may hold. Undefined: no text, or too long. */
function headerText(value: unknown): string | undefined {
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return undefined
  const text = String(value)
  if (text.length > longestClaim || !text.isWellFormed()) return undefined
  const encoded = text.replaceAll(/[^\x21-\x24\x26-\x7e]/g, encodeURIComponent)
  return encoded.length > longestClaim ? undefined : encoded
}

function refusal(error: unknown): TokenVerdict {
  if (error instanceof NoKeysError) return { refused: 'unavailable', detail: 'the identity provider cannot be asked for its keys' }
  if (error instanceof errors.JWTExpired) return { refused: 'expired', detail: 'the token has expired' }
  if (error instanceof errors.JOSEError) return { refused: 'invalid', detail: details[error.code] ?? 'the token is not valid' }
  // What Web Crypto says of keys and signatures that are none.
  return { refused: 'invalid', detail: 'the token is not valid' }
}

/** Told to the client: fixed texts, nothing of the token. */
const details: Readonly<Record<string, string>> = {
  ERR_JWT_CLAIM_VALIDATION_FAILED: 'a claim of the token is not the one that is asked for',
  ERR_JWKS_NO_MATCHING_KEY: 'the token is signed by a key that its issuer does not have',
  ERR_JWKS_MULTIPLE_MATCHING_KEYS: 'the token does not say which key signed it',
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED: 'the signature of the token is wrong',
  ERR_JOSE_ALG_NOT_ALLOWED: 'the token is signed by an algorithm that is not allowed',
}
