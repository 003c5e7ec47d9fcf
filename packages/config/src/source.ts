import type { Fault } from './errors.ts'
import type { Field } from './fields.ts'

export type Tree = { readonly [key: string]: unknown }

/** Where settings come from. Ours are `file`, `dotenv`, `env`, `secretFiles` and `args`; an object with these members is one too. */
export interface Source {
  /** Shown by `explain` and in faults. */
  readonly name: string
  /** Called once a load or reload. Gives a plain tree of objects, arrays and scalars; what is absent is left to weaker sources. A rejection is a fault of this source. */
  read(options: ReadOptions): Promise<Tree>
  /** Called once with `load({ watch: true })`, before the first read; what it returns ends it. Must not hold the process. */
  watch?(changed: () => void): () => void
  /**
   * What its files come from as a whole, if they are swapped as a whole: all sources are read again when it changes while they are read.
   * Default: nothing.
   */
  generation?(): Promise<string | undefined>
  /** Somewhere else: a rejection is tried again at the start, and then answered from the last known good copy. Default false. */
  readonly remote?: boolean | undefined
  /** How a user would set this field here (`ORDERS_PORT`); used in hints. */
  setting?(field: Field): string | undefined
}

export interface ReadOptions {
  readonly signal?: AbortSignal | undefined
  /** Every setting of the schema, for sources that have names instead of a tree. */
  readonly fields: readonly Field[]
  readonly report: Report
}

/** What a source can say beside its tree. All optional: a setting without a location is located by the source's name. */
export interface Report {
  at(path: readonly string[], location: string): void
  fault(fault: Omit<Fault, 'source'>): void
  warn(fault: Omit<Fault, 'source'>): void
}
