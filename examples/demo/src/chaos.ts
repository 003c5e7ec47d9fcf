import type { Failure } from './options.ts'
import type { Store } from './store.ts'

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Breaks one part of a running store for good measure, and brings it back as an operator or orchestrator would. */
export async function breakStore(store: Store, failure: Failure, onProgress: (line: string) => void): Promise<void> {
  const startedAt = performance.now()
  const victim = (name: string) => store.specs.find((spec) => spec.name === name)!
  switch (failure) {
    case 'worker':
    case 'catalog': {
      const spec = victim(failure === 'worker' ? 'fulfilment-worker' : 'catalog-api')
      onProgress(`chaos: SIGKILL to ${spec.name} ${spec.instance}`)
      await store.services.kill(spec)
      await pause(1_000)
      await store.services.start(spec)
      onProgress(`chaos: ${spec.name} ${spec.instance} is back after ${seconds(startedAt)} s`)
      return
    }
    case 'database': {
      onProgress('chaos: SIGKILL to every process of PostgreSQL')
      await store.postgres.kill()
      await pause(500)
      await store.postgres.restart()
      onProgress(`chaos: PostgreSQL is back after ${seconds(startedAt)} s`)
      return
    }
  }
}

const seconds = (since: number) => ((performance.now() - since) / 1000).toFixed(1)
