/** What no copy may be served of any more. `all`: the whole namespace. */
export interface Invalidation {
  readonly keys: readonly string[]
  readonly tags: readonly string[]
  readonly all: boolean
}

/** The part of a database that intents and the PostgreSQL bus need: db-pool's, or an adapter of three lines over `pg`. */
export interface QueryableLike {
  query(text: string, values?: readonly unknown[]): Promise<unknown>
}

/** What a store sends through a bus in the very step in which it takes an invalidation. */
export interface Telling {
  readonly channel: string
  /** The messages that tell of it, in their order. They are numbered: to be asked for right before the step is sent, and anew when it is sent again. */
  messages(what: Invalidation): readonly string[]
}

/**
 * Carries invalidations between processes. It needs no memory and may lose messages, as long as it says so: numbering, heartbeats and the
 * coherence state are the core's. What a missed message costs: l1 of the namespace in that process, never a stale read.
 */
export interface InvalidationBus {
  readonly name: string
  /** Longest payload in bytes; the core splits. */
  readonly maxPayloadBytes: number
  /** Interval of the heartbeats that the core sends to itself through the bus. Copies go unconfirmed for at most three of them. */
  readonly heartbeatMs: number
  /** Where the intents of invalidateAfterCommit live, when the bus stands on a database. */
  readonly db?: QueryableLike | undefined
  /** Called once by createCache; connects in the background, reconnects for ever and never throws for a server that is down. */
  open(options: {
    readonly namespace: string
    /** In the order in which the server took the messages, own ones included. */
    onMessage(payload: string): void
    /** Messages may have been missed. To be called when the subscription is lost and again when it stands anew. */
    onLost(cause: unknown): void
  }): BusTransport
}

export interface BusTransport {
  /** Resolves when the server has the message. */
  publish(payload: string): Promise<void>
  /** Where those who subscribe hear what a store on the same server publishes. Undefined: stores do not publish for this bus. */
  readonly place?: { readonly server: symbol; readonly channel: string } | undefined
  /** Closes only connections that the bus opened. */
  close(): Promise<void>
}
