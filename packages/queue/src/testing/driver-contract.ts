import { createBroker, type Broker } from '../broker.ts'
import type { QueueDriver } from '../driver.ts'
import type { BrokerOptions } from '../options.ts'
import { describeDelivery } from './delivery-contract.ts'
import { describeExpiry } from './expiry-contract.ts'
import { describeFailures } from './failure-contract.ts'
import { describeOrder } from './order-contract.ts'

interface Matchers {
  toBe(expected: unknown): unknown
  toEqual(expected: unknown): unknown
  toMatchObject(expected: object): unknown
}

/** What the suite uses of vitest, jest or an adapter over node:test. */
export interface TestApi {
  readonly describe: (name: string, define: () => void) => unknown
  readonly it: (name: string, run: () => Promise<void>) => unknown
  readonly expect: (value: unknown) => Matchers
  readonly beforeAll: (run: () => Promise<void>) => unknown
  readonly afterAll: (run: () => Promise<void>) => unknown
  readonly afterEach: (run: () => Promise<void>) => unknown
}

export interface QueueDriverHarness {
  /** A new driver at the same server: what it is given to is like another process. */
  driver(): QueueDriver
  close(): Promise<void>
}

/** What the parts of the suite share. */
export interface Stage {
  readonly api: TestApi
  /** A broker of its own for each call; all are closed after the test. */
  readonly broker: (options?: Pick<BrokerOptions, 'onGroupExpired'>) => Broker
  /** A message name that no other test uses. */
  readonly name: () => string
  /** Polls until the condition holds; fails after 30 s, saying what it waited for. */
  readonly until: (what: string, condition: () => boolean | Promise<boolean>) => Promise<void>
}

/** The semantics that every driver shares. Run it against your own driver to prove it. */
export function describeQueueDriver(api: TestApi, name: string, makeHarness: () => Promise<QueueDriverHarness>): void {
  api.describe(`queue driver ${name}`, () => {
    let harness: QueueDriverHarness
    let brokers: Broker[] = []
    let names = 0
    const run = Math.random().toString(36).slice(2, 8)
    const stage: Stage = {
      api,
      broker(options) {
        const broker = createBroker({ driver: harness.driver(), service: 'suite', ...options })
        brokers.push(broker)
        return broker
      },
      name() {
        names += 1
        return `suite.${run}.${names}`
      },
      until,
    }
    api.beforeAll(async () => {
      harness = await makeHarness()
    })
    api.afterEach(async () => {
      await Promise.all(brokers.map((broker) => broker.close({ timeoutMs: 5_000 })))
      brokers = []
    })
    api.afterAll(async () => {
      await harness?.close()
    })
    describeDelivery(stage)
    describeFailures(stage)
    describeOrder(stage)
    describeExpiry(stage)
  })
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 30_000
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited 30 s for: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
