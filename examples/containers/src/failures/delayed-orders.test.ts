import { expect, it } from 'vitest'
import { delayOrders } from './delayed-orders.ts'

/** A database that delays until it is told to end, or until `failsWith` says that it does not. */
function database(failsWith = '') {
  const cut = Promise.withResolvers<string>()
  cut.promise.catch(() => {})
  let isThere = failsWith === ''
  if (!isThere) cut.reject(new Error(failsWith))
  let ordered = 0
  return {
    get ordered() {
      return ordered
    },
    async compose(...args: string[]): Promise<string> {
      if (args.some((text) => text.includes('lock table'))) return cut.promise
      const ended = isThere ? 1 : 0
      isThere = false
      cut.reject(new Error('terminating connection due to administrator command'))
      return `${ended}\n`
    },
    async order(count: number): Promise<void> {
      ordered += count
      await new Promise((resolve) => setTimeout(resolve, 1))
    },
  }
}

it('orders all the time while some are delayed, and as many again in time as outweigh them', async () => {
  const store = database()
  const mend = await delayOrders(store)
  await expect.poll(() => store.ordered).toBeGreaterThan(10)
  await mend()
  expect(store.ordered).toBeGreaterThan(1_010)
  const before = store.ordered
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(store.ordered).toBe(before)
})

it('says why nothing was delayed', async () => {
  const store = database('relation "orders" does not exist')
  const mend = await delayOrders(store)
  await expect(mend()).rejects.toThrow('orders were not delayed: relation "orders" does not exist')
})
