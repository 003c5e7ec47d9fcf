import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { settlesWithin } from '@platform/kernel'

const FRESH_MS = 1000
const LOOKUP_MS = 2000
/** More names than this that are known are looked through for those that are not fresh. */
const MANY = 1000

export const HOST_TTL_SECONDS: number = FRESH_MS / 1000

interface Known {
  readonly addresses: Promise<readonly string[]>
  until: number
}

/** Instances that are registered by a host name, as this machine finds their addresses. */
export class HostNames {
  readonly #known = new Map<string, Known>()

  /** An address is itself. Empty: they cannot be told now. */
  async addresses(host: string): Promise<readonly string[]> {
    if (isIP(host) !== 0) return [host]
    const now = performance.now()
    let entry = this.#known.get(host)
    if (entry === undefined || entry.until < now) {
      if (this.#known.size > MANY) for (const [name, { until }] of this.#known) if (until < now) this.#known.delete(name)
      entry = asked(host)
      this.#known.set(host, entry)
    }
    // The resolver of the system has no limit of its own.
    return (await settlesWithin(entry.addresses, LOOKUP_MS)) ? entry.addresses : []
  }
}

/** A question that the resolver is still at is not asked again. */
function asked(host: string): Known {
  const entry: Known = { addresses: ask(host), until: Number.POSITIVE_INFINITY }
  void entry.addresses.then(() => (entry.until = performance.now() + FRESH_MS))
  return entry
}

async function ask(host: string): Promise<readonly string[]> {
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address)
  } catch {
    return []
  }
}
