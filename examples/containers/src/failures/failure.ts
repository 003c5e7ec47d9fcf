import type { Labels } from '../alertmanager.ts'
import type { Customers } from '../customers.ts'
import type { Compose } from '../psql.ts'

/** A store that is being rehearsed on. */
export interface Stage {
  readonly compose: Compose
  /** They look at pages and order all the time. */
  readonly customers: Customers
}

export interface Expected {
  readonly labels: Labels & { readonly alertname: string }
  /** Who must be told. */
  readonly to: 'page' | 'ticket'
}

/** A failure and the alerts that must follow from it. */
export interface Failure {
  /** As the runbook of each of its alerts says it. */
  readonly what: string
  /** The only kind of store that has what breaks. Default: any. */
  readonly store?: 'tls' | 'ha'
  /** Quick enough for `test:compose`, which breaks a store of its own; `infra rehearse` knows all of them. */
  readonly isCore?: true
  readonly alerts: readonly Expected[]
  /** How long they may take to resolve, where what they look at is long past before they do. Default 180,000. */
  readonly resolvesWithinMs?: number
  /** What must not fire by the time that the alerts do. */
  readonly silent?: Expected['labels']
  /** Breaks something; resolves with what mends it. */
  readonly inject: (stage: Stage) => Promise<() => Promise<unknown>>
}
