import { pause } from '@platform/kernel'
import type { Balancer } from './balancer.ts'
import { type Departure, type Instance, type Launch, startInstance } from './instance.ts'
import { type LoadOptions, startLoad, type Tally } from './load.ts'

export interface ProofOptions {
  readonly launch: Launch
  readonly load: Omit<LoadOptions, 'url'>
  readonly instances: number
  readonly replacements: number
  /** The balancer hears this much later than the instance that it leaves. */
  readonly lagMs: number
  readonly onProgress: (line: string) => void
  /** Awaited before the instances are ended, for further load of the caller's. */
  readonly settled?: () => Promise<void>
}

export interface Replacement extends Departure {
  /** Requests that failed between its SIGTERM and its end. */
  readonly failed: number
  /** From SIGTERM until the balancer had heard: the lag as it was. */
  readonly heardMs: number
}

export interface Proof {
  readonly tally: Tally
  readonly failed: number
  readonly replacements: readonly Replacement[]
  readonly holds: boolean
}

/** Answers before the first replacement, so that every connection is warm. */
const warmUpMs = 500
/** After the last one, for what comes late. */
const settleMs = 500

/** Replaces the instances one by one under load: the next is ready, the old one gets SIGTERM, the balancer hears of both `lagMs` later. */
export async function proveDeployment(balancer: Balancer, options: ProofOptions): Promise<Proof> {
  const { launch, instances, lagMs, onProgress } = options
  const all: Instance[] = []
  const launchOne = async (): Promise<Instance> => {
    const instance = await startInstance(launch)
    all.push(instance)
    return instance
  }
  try {
    let serving = await Promise.all(Array.from({ length: instances }, launchOne))
    await balancer.route(serving.map(({ port }) => port))
    onProgress(`${instances} instances are ready`)
    const load = startLoad({ ...options.load, url: balancer.url })
    const replacements: Replacement[] = []
    try {
      await pause(warmUpMs)
      for (let count = 1; count <= options.replacements; count++) {
        const next = await launchOne()
        const [old, ...others] = serving as [Instance, ...Instance[]]
        serving = [...others, next]
        const before = load.failed()
        const from = performance.now()
        const leaving = old.leave()
        await pause(lagMs)
        await balancer.route(serving.map(({ port }) => port))
        const heardMs = performance.now() - from
        const departure = await leaving
        replacements.push({ ...departure, failed: load.failed() - before, heardMs })
        onProgress(`replaced ${count} of ${options.replacements}`)
      }
      await pause(settleMs)
      await options.settled?.()
    } finally {
      await load.stop()
    }
    const failed = load.failed()
    const holds = failed === 0 && replacements.every(({ code }) => code === 0)
    return { tally: load.tally(), failed, replacements, holds }
  } finally {
    for (const instance of all) instance.kill()
  }
}
