import { withClient } from './databases.ts'
import type { Failure } from './options.ts'
import { isReady } from './services.ts'
import type { Store } from './store.ts'

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** How long the store took to be whole again, counted from the kill. */
export interface Recovery {
  readonly server: string
  readonly healthyMs: number
  /** Every instance says that it is ready. */
  readonly readyMs: number
  /** The first order that was placed and settled after the server was back. */
  readonly settledMs: number
}

/** Breaks one part of a running store for good measure, and brings it back as an operator or orchestrator would. */
export async function breakStore(store: Store, failure: Failure, onProgress: (line: string) => void): Promise<Recovery[]> {
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
      return []
    }
    case 'database': {
      onProgress('chaos: SIGKILL to every process of PostgreSQL')
      await store.postgres.kill()
      await pause(500)
      await store.postgres.restart()
      onProgress(`chaos: PostgreSQL is back after ${seconds(startedAt)} s`)
      return []
    }
    case 'servers': {
      const recoveries: Recovery[] = []
      for (const server of store.containers!.names) recoveries.push(await breakServer(store, server, onProgress))
      return recoveries
    }
  }
}

async function breakServer(store: Store, server: string, onProgress: (line: string) => void): Promise<Recovery> {
  const startedAt = performance.now()
  const since = () => performance.now() - startedAt
  onProgress(`chaos: SIGKILL to ${server}`)
  await store.containers!.kill(server)
  await pause(1_000)
  await store.containers!.start(server)
  const healthyMs = since()
  const back = new Date()
  const [readyMs, settledMs] = await Promise.all([
    until(async () => (await Promise.all(store.specs.map(({ adminPort }) => isReady(adminPort)))).every(Boolean)).then(since),
    until(() => hasSettledSince(store, back)).then(since),
  ])
  const told = { 'healthy again': healthyMs, 'all instances ready': readyMs, 'an order settled': settledMs }
  const times = Object.entries(told).map(([what, ms]) => `${what} after ${(ms / 1000).toFixed(1)} s`)
  onProgress(`chaos: ${server}: ${times.join(', ')}`)
  await pause(2_000)
  return { server, healthyMs, readyMs, settledMs }
}

function hasSettledSince({ databases }: Store, moment: Date): Promise<boolean> {
  const sql = 'select 1 from orders where placed_at > $1 and settled_at is not null limit 1'
  return withClient(databases.orders, async (client) => (await client.query(sql, [moment])).rowCount === 1).catch(() => false)
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error('the store is not whole again after 60 s')
    await pause(100)
  }
}

const seconds = (since: number) => ((performance.now() - since) / 1000).toFixed(1)
