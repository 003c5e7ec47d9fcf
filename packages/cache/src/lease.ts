import { allDone, backgroundUpkeep } from '@platform/kernel'
import type { Item } from './load.ts'
import type { SharedLayer } from './shared-layer.ts'

/** Keys of one command. */
const sliceSize = 500
/** So many leases long nobody else may load; then whoever asks takes over, and the load goes on without the right to fill. */
const leasesUntilYield = 4

/** The right of one load to fill l2, kept alive while its factory runs. */
export class Lease {
  readonly token: string
  readonly #shared: SharedLayer
  readonly #leaseMs: number
  readonly #items: readonly Item[]
  #endRenewals: (() => void) | undefined

  constructor(shared: SharedLayer, leaseMs: number, token: string, items: readonly Item[]) {
    this.#shared = shared
    this.#leaseMs = leaseMs
    this.token = token
    this.#items = items
  }

  keep(): void {
    const startedAt = performance.now()
    const renew = (): Promise<void> => this.#renew(performance.now() - startedAt > leasesUntilYield * this.#leaseMs)
    this.#endRenewals ??= backgroundUpkeep(renew, this.#leaseMs / 3)
  }

  /** All at once, each cycle after the one before: a lease that is lost costs a load of the others. */
  async #renew(yielded: boolean): Promise<void> {
    const renew = (keys: string[]): Promise<void> => this.#shared.renew(keys, this.token, this.#leaseMs, yielded)
    await allDone([...slicesOf(this.#items)].map(renew))
  }

  release(some: readonly Item[]): void {
    for (const keys of slicesOf(some)) this.#shared.release(keys, this.token)
    for (const item of some) item.granted = undefined
  }

  end(): void {
    this.#endRenewals?.()
  }
}

function* slicesOf(items: readonly Item[]): Generator<string[]> {
  const keys = items.filter(({ granted }) => granted).map(({ flight }) => flight.key)
  for (let from = 0; from < keys.length; from += sliceSize) yield keys.slice(from, from + sliceSize)
}
