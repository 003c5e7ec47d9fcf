import { backgroundTimeout, durationOption, integerOption } from '@platform/kernel'
import { ChainPolicy } from './create-policy.ts'
import { refuseOption } from './errors.ts'
import { observe } from './instrumentation.ts'
import type { PolicyOptions } from './options.ts'
import type { BreakerState, Policy } from './policy.ts'
import { type ResolvedPolicyOptions, resolvePolicyOptions } from './resolve-options.ts'

export interface PolicyGroupOptions extends PolicyOptions {
  /** A key without calls for this long is forgotten with its window. Default 300,000. */
  idleTimeoutMs?: number | undefined
  /** Keys that are remembered at most; beyond it the one that was used longest ago and has no call under way is forgotten. Default 100,000. */
  maxKeys?: number | undefined
}

export interface PolicyGroup {
  /** The key's policy, made at first use. Ask again for each call: a policy held back may have been forgotten. */
  for(key: string): Policy
  /** Replaces all options, as `policy.update` does, for all keys. */
  update(options: PolicyGroupOptions): void
  readonly size: number
  /** Forgets all keys. */
  dispose(): void
  [Symbol.dispose](): void
}

/** Keys looked at for one without a call before the eldest goes anyway. */
const LOOKED_AT = 8

/** One policy per instance, tenant or route, so that a bad one does not open the circuit of the others. The key is the rate limit's key. */
export function createPolicyGroup(options: PolicyGroupOptions): PolicyGroup {
  return new KeyedPolicies(options)
}

interface Settings {
  readonly policy: ResolvedPolicyOptions
  readonly idleTimeoutMs: number
  readonly maxKeys: number
}

class KeyedPolicies implements PolicyGroup {
  readonly name: string
  /** Longest unused first. */
  readonly #policies = new Map<string, ChainPolicy>()
  readonly #unobserve: () => void
  #settings: Settings
  #timer: NodeJS.Timeout | undefined

  constructor(options: PolicyGroupOptions) {
    this.#settings = resolve(options)
    this.name = this.#settings.policy.name ?? 'default'
    this.#unobserve = observe(this)
  }

  get size(): number {
    return this.#policies.size
  }

  for(key: string): Policy {
    let policy = this.#policies.get(key)
    if (policy === undefined) {
      if (this.#policies.size >= this.#settings.maxKeys) this.#makeRoom()
      policy = new ChainPolicy(this.#settings.policy, key)
      this.#timer ??= this.#watch()
    } else this.#policies.delete(key)
    this.#policies.set(key, policy)
    policy.lastUsedAt = performance.now()
    return policy
  }

  update(options: PolicyGroupOptions): void {
    const settings = resolve(options)
    if ((settings.policy.name ?? this.name) !== this.name) throw refuseOption('name', 'cannot change')
    this.#settings = settings
    for (const policy of this.#policies.values()) policy.use(settings.policy)
    while (this.#policies.size > settings.maxKeys) this.#makeRoom()
    if (this.#timer === undefined) return
    clearTimeout(this.#timer)
    this.#timer = this.#watch()
  }

  *states(): Generator<BreakerState> {
    for (const { hasBreaker, state } of this.#policies.values()) if (hasBreaker) yield state
  }

  dispose(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#unobserve()
    for (const key of this.#policies.keys()) this.#forget(key)
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  #makeRoom(): void {
    let looked = 0
    let eldest: string | undefined
    for (const [key, policy] of this.#policies) {
      eldest ??= key
      if (policy.idle) return this.#forget(key)
      if (++looked >= LOOKED_AT) break
    }
    if (eldest !== undefined) this.#forget(eldest)
  }

  #forget(key: string): void {
    this.#policies.get(key)?.dispose()
    this.#policies.delete(key)
  }

  #watch(): NodeJS.Timeout {
    return backgroundTimeout(() => this.#forgetIdle(), this.#settings.idleTimeoutMs)
  }

  #forgetIdle(): void {
    const before = performance.now() - this.#settings.idleTimeoutMs
    for (const [key, policy] of this.#policies) if (policy.idle && policy.lastUsedAt <= before) this.#forget(key)
    this.#timer = this.#policies.size > 0 ? this.#watch() : undefined
  }
}

function resolve({ idleTimeoutMs = 300_000, maxKeys = 100_000, ...policy }: PolicyGroupOptions): Settings {
  return {
    policy: resolvePolicyOptions(policy),
    idleTimeoutMs: durationOption(refuseOption, 'idleTimeoutMs', idleTimeoutMs, 1),
    maxKeys: integerOption(refuseOption, 'maxKeys', maxKeys, 1),
  }
}
