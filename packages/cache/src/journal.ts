import { guarded } from '@platform/kernel'
import type { CacheCounts } from './instrumentation.ts'
import type { LoggerLike } from './options.ts'

/** What a cache counts, and the one place that calls the user's logger. */
export class Journal {
  readonly counts: CacheCounts = {
    hits: 0,
    misses: 0,
    stale: 0,
    errors: 0,
    invalidations: { local: 0, bus: 0, gap: 0 },
    faults: { l2: 0, bus: 0 },
  }
  readonly #namespace: string
  readonly #logger: LoggerLike | undefined

  constructor(namespace: string, logger: LoggerLike | undefined) {
    this.#namespace = namespace
    this.#logger = logger
  }

  answered(kind: 'hit' | 'miss' | 'stale' | 'error'): void {
    if (kind === 'hit') this.counts.hits++
    else if (kind === 'miss') this.counts.misses++
    else if (kind === 'stale') this.counts.stale++
    else this.counts.errors++
  }

  fault(where: 'l2' | 'bus', message: string, fields: object = {}): void {
    this.counts.faults[where]++
    this.log('warn', message, fields)
  }

  log(level: keyof LoggerLike, message: string, fields: object): void {
    guarded(() => this.#logger?.[level]({ ...fields, namespace: this.#namespace }, message))
  }
}
