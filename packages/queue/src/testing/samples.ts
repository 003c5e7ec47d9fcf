import { decode, type Message, type OutgoingMessage } from '../message.ts'

export interface Incompatible {
  readonly id: string
  readonly version: number
  /** Paths and kinds of fault; no value of the body. */
  readonly reason: string
}

/**
 * Which stored messages a contract can no longer read, upcasters included. Samples are what `broker.prepare` returned, kept as JSON beside
 * the contract: when the schema changes, a test with them says whether messages that are under way, or dead letters, would be lost.
 */
export async function findIncompatible(message: Message<never, unknown>, samples: readonly OutgoingMessage[]): Promise<Incompatible[]> {
  const found: Incompatible[] = []
  for (const { envelope } of samples) {
    const decoded = envelope.name === message.name ? await decode(message, envelope) : { reason: `it is ${envelope.name}` }
    if ('reason' in decoded) found.push({ id: envelope.id, version: envelope.version, reason: decoded.reason })
  }
  return found
}
