/** What a generation of RabbitMQ does with what we rely on; told by the version in its greeting. */
export interface Tier {
  readonly name: '3.10' | '4.0' | '4.3'
  /** A `basic.nack` that gives a message back counts as a delivery and so against the queue's limit. */
  readonly givingBackCounts: boolean
  /** A handler that outlives the broker's consumer timeout ends the channel, or only the consumer. */
  readonly consumerTimeoutEnds: 'channel' | 'consumer'
}

const tiers: Record<Tier['name'], Tier> = {
  '3.10': { name: '3.10', givingBackCounts: true, consumerTimeoutEnds: 'channel' },
  '4.0': { name: '4.0', givingBackCounts: true, consumerTimeoutEnds: 'channel' },
  '4.3': { name: '4.3', givingBackCounts: false, consumerTimeoutEnds: 'consumer' },
}

/** `undefined` for what is older than 3.10 or says nothing that can be read. */
export function tierOf(version: unknown): Tier | undefined {
  const [major = Number.NaN, minor = Number.NaN] = typeof version === 'string' ? version.split('.').slice(0, 2).map(Number) : []
  if (major > 4 || (major === 4 && minor >= 3)) return tiers['4.3']
  if (major === 4 && minor >= 0) return tiers['4.0']
  return major === 3 && minor >= 10 ? tiers['3.10'] : undefined
}
