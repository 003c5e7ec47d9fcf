import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { settlesWithin } from '@platform/kernel'

const FRESH_MS = 5000
const LOOKUP_MS = 2000
/** More names than this that are known are looked through for those that are not fresh. */
const MANY = 1000

export const HOST_TTL_SECONDS: number = FRESH_MS / 1000

/** Instances that are registered by a host name, as this machine finds their addresses. */
export class HostNames {
  readonly #known = new Map<string, { addresses: Promise<readonly string[]>; until: number }>()

  /** An address is itself. Empty: they cannot be told now. */
  async addresses(host: string): Promise<readonly string[]> {
    if (isIP(host) !== 0) return [host]
    const now = performance.now()
    let entry = this.#known.get(host)
    if (entry === undefined || entry.until < now) {
      if (this.#known.size > MANY) for (const [name, { until }] of this.#known) if (until < now) this.#known.delete(name)
      entry = { addresses: ask(host), until: now + FRESH_MS }
      this.#known.set(host, entry)
    }
    // The resolver of the system has no limit of its own.
    return (await settlesWithin(entry.addresses, LOOKUP_MS)) ? entry.addresses : []
  }
}

async function ask(host: string): Promise<readonly string[]> {
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address)
  } catch {
    return []
  }
}
