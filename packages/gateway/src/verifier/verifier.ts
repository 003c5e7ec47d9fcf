/** One question a request: may it come, as whom, and is it within its limit? */
import { isVerified } from '../compile/names.ts'
import type { GatewayFile, Route } from '../gateway-file.ts'
import type { RedisLike } from '../options.ts'
import type { LoggerLike } from '../logger-like.ts'
import { andThen } from './and-then.ts'
import { addressKey, consumerKey, Limit, type LimitVerdict } from './limits.ts'
import { type Identity, Tokens, type TokenVerdict } from './tokens.ts'
import type { DenialCode, Verdict } from './verdict.ts'

interface Rule {
  readonly route: Route
  readonly tokens: Tokens | undefined
  readonly limit: Limit | undefined
}

export interface Question {
  readonly route: string
  readonly address: string
  readonly authorization: string | undefined
}

const refusals: Readonly<Record<Extract<TokenVerdict, { refused: string }>['refused'], [DenialCode, 401 | 503]>> = {
  missing: ['token_missing', 401],
  malformed: ['token_malformed', 401],
  invalid: ['token_invalid', 401],
  expired: ['token_expired', 401],
  unavailable: ['keys_unavailable', 503],
}

export class Verifier {
  readonly #redis: RedisLike | undefined
  readonly #logger: LoggerLike
  #rules = new Map<string, Rule>()
  #tokens = new Map<string, { settings: string; tokens: Tokens }>()
  #limits = new Map<string, { settings: string; limit: Limit }>()

  constructor({ redis, logger }: { redis: RedisLike | undefined; logger: LoggerLike }) {
    this.#redis = redis
    this.#logger = logger
  }

  /** Rules of another file. What has not changed keeps what it knows: keys, verdicts, counts. Rules that are gone stay while old workers may ask: see `forget`. */
  use(file: GatewayFile): void {
    const rules = new Map(this.#rules)
    for (const [name, provider] of Object.entries(file.identityProviders)) {
      const settings = JSON.stringify(provider)
      if (this.#tokens.get(name)?.settings === settings) continue
      this.#tokens.set(name, { settings, tokens: new Tokens(name, provider, this.#logger) })
    }
    for (const route of file.routes.filter(isVerified)) {
      const tokens = route.auth === 'public' ? undefined : this.#tokens.get(route.auth.jwt)?.tokens
      rules.set(route.name, { route, tokens, limit: this.#limitOf(route) })
    }
    this.#rules = rules
  }

  /** After every worker has this file. */
  forget(file: GatewayFile): void {
    const names = new Set(file.routes.map(({ name }) => name))
    for (const name of this.#rules.keys()) if (!names.has(name)) this.#rules.delete(name)
    for (const name of this.#limits.keys()) if (!names.has(name)) this.#limits.delete(name)
    for (const name of this.#tokens.keys()) if (!Object.hasOwn(file.identityProviders, name)) this.#tokens.delete(name)
  }

  async warm(): Promise<void> {
    const limits = [...this.#limits.values()].map(({ limit }) => limit.warm())
    await Promise.allSettled([...[...this.#tokens.values()].map(({ tokens }) => tokens.warm()), ...limits])
  }

  /** Identity providers whose keys nobody has had yet. */
  withoutKeys(): string[] {
    return [...this.#tokens].filter(([, { tokens }]) => !tokens.hasKeys).map(([name]) => name)
  }

  /** A promise only where somebody has to be asked: for a new token, or for a turn in Redis. */
  decide({ route: name, address, authorization }: Question): Verdict | Promise<Verdict> {
    const rule = this.#rules.get(name)
    if (rule === undefined) return { code: 'unknown_route', status: 503, detail: 'this route is not known here' }
    const { tokens, limit } = rule
    if (limit?.by !== 'ip') return andThen(tokens?.verify(authorization), (verdict) => decideOn(rule, verdict, undefined))
    // An address pays before its token is looked at; others only for requests that may come, so that nobody spends their share.
    return andThen(limit.take(addressKey(address)), (early) => {
      if (!early.allowed) return limited(early)
      return andThen(tokens?.verify(authorization), (verdict) => decideOn(rule, verdict, early))
    })
  }

  #limitOf(route: Route): Limit | undefined {
    if (route.rateLimit === undefined) return undefined
    const settings = JSON.stringify(route.rateLimit)
    const known = this.#limits.get(route.name)
    if (known?.settings === settings) return known.limit
    const limit = new Limit(route, route.rateLimit, this.#redis)
    this.#limits.set(route.name, { settings, limit })
    return limit
  }
}

/** What is left to decide once the token was looked at; `early` is what an address has paid. */
function decideOn({ route, limit }: Rule, verdict: TokenVerdict | undefined, early: LimitVerdict | undefined): Verdict | Promise<Verdict> {
  if (verdict !== undefined && 'refused' in verdict) {
    const [code, status] = refusals[verdict.refused]
    return { code, status, detail: verdict.detail, limit: early }
  }
  const identity = verdict?.identity
  if (identity !== undefined && route.auth !== 'public' && !route.auth.scopes.every((scope) => identity.scopes.has(scope))) {
    return { code: 'scope_missing', status: 403, detail: 'the token lacks a scope that this route asks for', identity, limit: early }
  }
  if (limit === undefined || early !== undefined) return { code: 'allowed', status: 200, identity, limit: early }
  return andThen(
    limit.take(keyOf(limit, route, identity)),
    (late): Verdict => (late.allowed ? { code: 'allowed', status: 200, identity, limit: late } : limited(late, identity)),
  )
}

/** An identity is of one provider. */
const consumerKeys = new WeakMap<Identity, string>()

function keyOf(limit: Limit, route: Route, identity: Identity | undefined): string {
  if (limit.by === 'route' || identity === undefined) return 'all'
  const known = consumerKeys.get(identity)
  if (known !== undefined) return known
  const key = consumerKey(route.auth === 'public' ? '' : route.auth.jwt, identity.subject)
  consumerKeys.set(identity, key)
  return key
}

function limited(limit: LimitVerdict, identity?: Identity): Verdict {
  return { code: 'rate_limited', status: 429, detail: 'too many requests: see Retry-After', limit, identity }
}
