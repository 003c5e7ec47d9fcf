import { same } from './compare.ts'
import { ConfigError } from './errors.ts'

interface Refused {
  readonly outcome: string
  readonly error?: unknown
}

/** Tells a refusal that is new from one that is only tried again. */
export interface Refusals {
  /** The last one, while nothing was accepted since. */
  readonly last: string | undefined
  /** Whether the very same was noted before. `wanted`: the settings that were not taken, if there were any. */
  isRepeated(event: Refused, wanted: unknown): boolean
  accepted(): void
}

export function createRefusals(): Refusals {
  let known: { outcome: string; reason: string; wanted: unknown } | undefined
  return {
    get last() {
      return known?.outcome
    },
    isRepeated({ outcome, error }, wanted) {
      const before = known
      known = { outcome, reason: reasonOf(error), wanted }
      return before?.outcome === outcome && before.reason === known.reason && same(before.wanted, wanted)
    },
    accepted() {
      known = undefined
    },
  }
}

/** What it says, and what its cause says: a veto is told by its listener. */
function reasonOf(error: unknown): string {
  const { message, cause } = (error instanceof Error ? error : {}) as { message?: string; cause?: unknown }
  const inner = ConfigError.isInstance(error) && cause instanceof Error ? cause.message : ''
  return `${message ?? ''}\n${inner}`
}
