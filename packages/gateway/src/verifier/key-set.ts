import { createLocalJWKSet, type FlattenedJWSInput, type JSONWebKeySet, type JWSHeaderParameters, type CryptoKey, errors } from 'jose'
import { withDeadline } from '@platform/kernel'
import { instruments } from '../instrumentation.ts'
import type { LoggerLike } from '../logger-like.ts'

/** Keys are asked for again behind the requests when they are so old. */
const freshMs = 600_000
/** A key that nobody knows, and a provider that does not answer, are asked after once in so long. */
const cooldownMs = 10_000
/** As long as there are no keys at all: the provider may be starting beside the gateway, and every request waits for it. */
const firstCooldownMs = 1_000
const fetchTimeoutMs = 3_000
const longestBody = 1_048_576
const mostKeys = 200

type Resolve = ReturnType<typeof createLocalJWKSet>

interface Known {
  readonly resolve: Resolve
  /** The set as text: another one voids what was verified by the old. */
  readonly text: string
  readonly at: number
}

/** No key of the provider has ever been had. */
export class NoKeysError extends Error {}

/**
 * The public keys of an identity provider. What was had once is used until something better is had: a provider that is away, answers with an
 * error, with nonsense or with no keys changes nothing.
 */
export class KeySet {
  readonly #provider: string
  readonly #url: string
  readonly #logger: LoggerLike
  readonly #onChange: () => void
  #known: Known | undefined
  #flight: Promise<void> | undefined
  #askedAt = Number.NEGATIVE_INFINITY

  constructor({ provider, url, logger, onChange }: { provider: string; url: string; logger: LoggerLike; onChange: () => void }) {
    this.#provider = provider
    this.#url = url
    this.#logger = logger
    this.#onChange = onChange
  }

  /** For `jwtVerify`. A kid that is not there is looked for once. */
  readonly key = async (header: JWSHeaderParameters, token: FlattenedJWSInput): Promise<CryptoKey> => {
    if (this.#known === undefined) await this.#ask()
    else if (performance.now() - this.#known.at > freshMs) void this.#ask()
    const known = this.#known
    if (known === undefined) throw new NoKeysError(`no keys of ${this.#provider}`)
    try {
      return await known.resolve(header, token)
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
      await this.#ask()
      const newer = this.#known
      if (newer === undefined || newer === known) throw error
      return newer.resolve(header, token)
    }
  }

  /** For the start, so that the first request finds them. */
  async warm(): Promise<void> {
    await this.#ask()
  }

  get isKnown(): boolean {
    return this.#known !== undefined
  }

  /** Joins the fetch under way; begins none while the last one is recent. Never rejects. */
  #ask(): Promise<void> {
    if (this.#flight !== undefined) return this.#flight
    const now = performance.now()
    if (now - this.#askedAt < (this.isKnown ? cooldownMs : firstCooldownMs)) return Promise.resolve()
    this.#askedAt = now
    this.#flight = this.#fetch().finally(() => (this.#flight = undefined))
    return this.#flight
  }

  async #fetch(): Promise<void> {
    try {
      const late = (): Error => new Error(`no answer within ${fetchTimeoutMs} ms`)
      const text = await withDeadline(fetchTimeoutMs, late, (signal) => body(this.#url, signal))
      const keys = signatureKeys(JSON.parse(text))
      const same = JSON.stringify(keys)
      const changed = this.#known !== undefined && this.#known.text !== same
      this.#known =
        changed || this.#known === undefined
          ? { resolve: createLocalJWKSet(keys), text: same, at: performance.now() }
          : { ...this.#known, at: performance.now() }
      if (changed) this.#onChange()
      instruments().keyFetches.add(1, { provider: this.#provider, outcome: 'answered' })
    } catch (error) {
      instruments().keyFetches.add(1, { provider: this.#provider, outcome: 'failed' })
      const fields = { provider: this.#provider, reason: (error as Error).message, keysKept: this.#known !== undefined }
      this.#logger.warn(fields, 'the keys of an identity provider could not be had')
    }
  }
}

async function body(url: string, signal: AbortSignal): Promise<string> {
  const response = await fetch(url, { signal, redirect: 'error', headers: { accept: 'application/json' } })
  if (!response.ok) throw new Error(`status ${response.status}`)
  let text = ''
  const decoder = new TextDecoder()
  for await (const piece of response.body ?? []) {
    text += decoder.decode(piece as Uint8Array, { stream: true })
    if (text.length > longestBody) throw new Error(`longer than ${longestBody} characters`)
  }
  return text
}

/** Public keys for signatures only: a shared secret among them would let anybody who knows a public key sign (HS256 with its text). */
function signatureKeys(value: unknown): JSONWebKeySet {
  const all = (value as { keys?: unknown } | null)?.keys
  if (!Array.isArray(all)) throw new Error('no list of keys')
  const keys = all.filter(
    (key): key is JSONWebKeySet['keys'][number] =>
      typeof key === 'object' &&
      key !== null &&
      ['RSA', 'EC', 'OKP'].includes((key as { kty: string }).kty) &&
      ((key as { use?: string }).use ?? 'sig') === 'sig',
  )
  if (keys.length === 0 || keys.length > mostKeys) throw new Error(`${keys.length} keys for signatures, 1 to ${mostKeys} expected`)
  return { keys }
}
