import { expect, it } from 'vitest'
import { lockOrders } from './locked-orders.ts'

/** A database whose lock is granted at the third look, unless somebody says otherwise. */
function database({ failsWith = '', grantedAtLook = 3 } = {}) {
  const cut = Promise.withResolvers<string>()
  cut.promise.catch(() => {})
  let looks = 0
  let isThere = true
  let ordered = 0
  const isHeld = () => isThere && looks >= grantedAtLook
  const orderedUnlocked: boolean[] = []
  const lose = (why: string) => {
    isThere = false
    cut.reject(new Error(why))
  }
  return {
    lose,
    orderedUnlocked,
    get ordered() {
      return ordered
    },
    async compose(...args: string[]): Promise<string> {
      const sql = args.at(-1)!
      if (sql.includes('lock table')) {
        if (failsWith !== '') lose(failsWith)
        return cut.promise
      }
      if (sql.includes('pg_locks')) {
        looks++
        return isHeld() ? 't\n' : 'f\n'
      }
      const ended = isThere ? 1 : 0
      lose('terminating connection due to administrator command')
      return `${ended}\n`
    },
    async order(count: number): Promise<void> {
      ordered += count
      orderedUnlocked.push(!isHeld())
      await new Promise((resolve) => setTimeout(resolve, 5))
    },
  }
}
const lastsMs = 1_000

it('orders only once the lock is held, and until it is taken back', async () => {
  const store = database()
  const unlock = await lockOrders({ compose: store.compose, order: store.order, lastsMs })
  await expect.poll(() => store.ordered).toBeGreaterThan(120)
  await unlock()
  expect(store.orderedUnlocked.slice(0, -1)).not.toContain(true)
  const before = store.ordered
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(store.ordered).toBe(before)
})

it('says why the lock was not got, and orders nothing', async () => {
  const store = database({ failsWith: 'relation "orders" does not exist' })
  await expect(lockOrders({ compose: store.compose, order: store.order, lastsMs })).rejects.toThrow('relation "orders" does not exist')
  expect(store.ordered).toBe(0)
})

it('says so when the lock did not last until it was taken back', async () => {
  const store = database()
  const unlock = await lockOrders({ compose: store.compose, order: store.order, lastsMs })
  store.lose('the server was restarted')
  await expect(unlock()).rejects.toThrow('the server was restarted')
})
