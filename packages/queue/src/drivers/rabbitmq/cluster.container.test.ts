import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createBroker, type Broker } from '../../index.ts'
import { Ledger } from '../../testing/ledger.ts'
import { sold } from '../../testing/sold.ts'
import { rabbitmq } from '../rabbitmq.ts'
import { startCluster, type Cluster } from './cluster.fixture.ts'

const patience = { timeout: 120_000, interval: 250 }
const total = 3_000

describe.each(['rabbitmq:4-management', 'rabbitmq:4.3-management'])('a cluster of three (%s)', { timeout: 400_000 }, (image) => {
  let cluster: Cluster
  const brokers: Broker[] = []
  /** Each begins at another node. */
  const open = (at: number): Broker => {
    const { nodes } = cluster
    const urls = [...nodes.slice(at), ...nodes.slice(0, at)].map(({ url }) => url)
    const broker = createBroker({ driver: rabbitmq({ urls }), service: 'cluster' })
    brokers.push(broker)
    return broker
  }
  beforeAll(async () => {
    cluster = await startCluster(image)
  }, 300_000)
  afterEach(async () => {
    await Promise.all(brokers.splice(0).map((broker) => broker.close({ timeoutMs: 5_000 })))
  })
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]()
  })

  it.each([false, true])(
    'loses, doubles in effect and reorders nothing when a node is killed and comes back (ordered: %s)',
    async (ordered) => {
      const group = ordered ? 'in-order' : 'plain'
      const ledger = new Ledger({ groups: [group], ordered: ordered ? [group] : [] })
      const effects = new Set<string>()
      const [publisher, ...members] = [open(0), open(0), open(1), open(2)] as [Broker, ...Broker[]]
      for (const member of members) {
        // What arrives twice has no second effect, as with an inbox.
        const work = ledger.watch<{ film: string; n: number }>(group, async () => {})
        await member.consume(
          sold,
          async (delivery, context) => {
            if (effects.has(delivery.id)) return
            effects.add(delivery.id)
            await work(delivery, context)
          },
          { group, ordered, ...(ordered ? { shards: 4 } : {}) },
        )
      }
      const [first] = cluster.nodes
      let killedAt = 0
      let firstAfter: number | undefined
      let back: Promise<void> | undefined
      const lane = async (film: string): Promise<void> => {
        for (let n = 0; n < total / 30; n += 1) {
          const id = `${group}-${film}-${n}`
          for (let confirmed = false; !confirmed; ) {
            try {
              await ledger.publish(id, film, () => publisher.publish(sold, { film, n }, { id }))
              confirmed = true
            } catch {
              await new Promise((resolve) => setTimeout(resolve, 50))
            }
          }
          if (killedAt > 0) firstAfter ??= performance.now() - killedAt
          if (film === 'film-0' && n === total / 60) {
            await first?.kill()
            killedAt = performance.now()
            back = new Promise((resolve) => setTimeout(resolve, 3_000)).then(() => first?.restart())
          }
        }
      }
      await Promise.all(Array.from({ length: 30 }, (_, film) => lane(`film-${film}`)))
      await back
      await vi.waitFor(() => expect(ledger.outstanding(group)).toEqual([]), patience)
      console.log(`${image}, ordered ${ordered}: published again ${Math.round(firstAfter ?? 0)} ms after the kill`)
      expect(ledger.audit()).toMatchObject({ confirmed: total, lost: [], doubled: [], reordered: [], untried: [] })
      await vi.waitFor(async () => expect(await publisher.deadLetters(sold, group).count()).toBe(0), patience)
    },
  )
})
