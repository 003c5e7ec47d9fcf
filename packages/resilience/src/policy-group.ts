import { ChainPolicy } from './create-policy.ts'
import { durationOption } from './option-checks.ts'
import type { PolicyOptions } from './options.ts'
import type { Policy } from './policy.ts'
import { resolvePolicyOptions } from './resolve-options.ts'

export interface PolicyGroupOptions extends PolicyOptions {
  /** A key without calls for this long is forgotten with its window. Default 300,000. */
  idleTimeoutMs?: number | undefined
}

export interface PolicyGroup {
  /** The key's policy, made at first use. Ask again for each call: a policy held back may have been forgotten. */
  for(key: string): Policy
  readonly size: number
}

/** One policy per instance, tenant or route, so that a bad one does not open the circuit of the others. The key is the rate limit's key. */
export function createPolicyGroup(options: PolicyGroupOptions): PolicyGroup {
  const { idleTimeoutMs: idle = 300_000, ...policyOptions } = options
  const idleTimeoutMs = durationOption('idleTimeoutMs', idle)
  resolvePolicyOptions(policyOptions)
  const policies = new Map<string, ChainPolicy>()
  let timer: NodeJS.Timeout | undefined

  const forgetIdle = (): void => {
    timer = undefined
    const now = performance.now()
    for (const [key, policy] of policies) {
      if (!policy.idle || now - policy.lastUsedAt < idleTimeoutMs) continue
      policies.delete(key)
      policy.dispose()
    }
    if (policies.size > 0) watch()
  }
  const watch = (): void => {
    timer = setTimeout(forgetIdle, idleTimeoutMs).unref()
  }

  return {
    for(key) {
      let policy = policies.get(key)
      if (policy === undefined) {
        policy = new ChainPolicy(policyOptions, key)
        policies.set(key, policy)
        if (timer === undefined) watch()
      }
      policy.lastUsedAt = performance.now()
      return policy
    },
    get size() {
      return policies.size
    },
  }
}
