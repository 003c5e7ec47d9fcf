import { psql } from '../psql.ts'
import { delayOrders } from './delayed-orders.ts'
import type { Failure, Stage } from './failure.ts'
import { lockOrders } from './locked-orders.ts'

const latency = { slo: 'orders-api-latency' } as const
const lockedMs = 400_000

/** Which of the two servers leads. */
async function leaderOf({ compose }: Stage): Promise<string> {
  return (await psql(compose, 'postgres', 'postgres', 'select pg_is_in_recovery()')) === 't' ? 'postgres-2' : 'postgres'
}

export const ofDatabases: readonly Failure[] = [
  {
    what: 'one order in fifty waits for a lock',
    // Before anything else fails: it looks at all that was answered for as long as the store has lived.
    alerts: [{ labels: { alertname: 'ErrorBudgetBurnsSlowly', ...latency }, to: 'ticket' }],
    silent: { alertname: 'ErrorBudgetBurnsFast', ...latency },
    // The shorter of its windows is six minutes at a sixtieth.
    resolvesWithinMs: 420_000,
    inject: ({ compose, customers: { order } }) => delayOrders({ compose, order }),
  },
  {
    what: 'the database stands still',
    alerts: [
      { labels: { alertname: 'ServerDown', job: 'postgres' }, to: 'page' },
      { labels: { alertname: 'CheckFails', job: 'orders-api', platform_health_check_name: 'db' }, to: 'ticket' },
    ],
    async inject({ compose }) {
      await compose('pause', 'postgres')
      return () => compose('unpause', 'postgres')
    },
  },
  {
    what: 'the database is locked',
    isCore: true,
    alerts: [
      { labels: { alertname: 'PoolExhausted', job: 'orders-api' }, to: 'page' },
      { labels: { alertname: 'ErrorBudgetBurnsFast', slo: 'orders-api-availability' }, to: 'page' },
    ],
    inject: ({ compose, customers: { order } }) => lockOrders({ compose, order, lastsMs: lockedMs }),
  },
  {
    what: 'the second database is kept from its leader',
    store: 'ha',
    alerts: [{ labels: { alertname: 'ReplicationLags', job: 'postgres' }, to: 'page' }],
    async inject(stage) {
      const leader = await leaderOf(stage)
      const sql = (text: string) => psql(stage.compose, leader, 'postgres', text)
      await sql('alter role replicator nologin')
      await sql('select pg_terminate_backend(pid) from pg_stat_replication')
      return () => sql('alter role replicator login')
    },
  },
]
