import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { type Entry, judge } from '../books/entry.ts'
import type { Containers } from '../store.ts'
import { seconds } from '../store-rehearsal.ts'

/** What a server of the profile `ha` says about who leads, asked of those that still run. */
export interface Leader {
  readonly server: string
  readonly containers: readonly string[]
  /** The container that leads, as this one sees it. */
  readonly seenBy: (containers: Containers, container: string) => Promise<string | undefined>
  /** Resolves to true when all are there and have what they need to replace each other. */
  readonly whole: (containers: Containers, container: string) => Promise<boolean>
}

interface Cluster {
  readonly members: readonly { readonly name: string; readonly role: string; readonly state: string }[]
}

const cluster = async (containers: Containers, container: string) =>
  JSON.parse(await containers.exec(container, 'curl', '--silent', '--max-time', '3', 'http://127.0.0.1:8008/cluster')) as Cluster
const sentinel = (containers: Containers, container: string, ...args: string[]) =>
  containers.exec(container, 'sh', '-c', `REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli -p 26379 ${args.join(' ')}`)
/** The names of all queues, each with what is asked of it. */
const listQueues = (containers: Containers, container: string, column: 'leader' | 'online') =>
  containers.exec(container, 'rabbitmqctl', '--quiet', '--silent', 'list_queues', 'name', column, '--no-table-headers')
const ordersQueue = 'platform/orders.placed.v1/fulfilment'
/** `rabbit@rabbitmq-1` runs in the container `rabbitmq`. */
const containerOf = (node: string) => node.trim().replace('rabbit@', '').replace(/-1$/, '')

export const ofPostgres: Leader = {
  server: 'PostgreSQL',
  containers: ['postgres', 'postgres-2'],
  seenBy: async (containers, container) =>
    (await cluster(containers, container)).members.find(({ role, state }) => role === 'leader' && state === 'running')?.name,
  whole: async (containers, container) =>
    (await cluster(containers, container)).members.some(({ role, state }) => role === 'sync_standby' && state === 'streaming'),
}

export const leaders: readonly Leader[] = [
  ofPostgres,
  {
    server: 'RabbitMQ',
    containers: ['rabbitmq', 'rabbitmq-2', 'rabbitmq-3'],
    async seenBy(containers, container) {
      const lines = await listQueues(containers, container, 'leader')
      const leader = lines
        .split('\n')
        .find((line) => line.startsWith(`${ordersQueue}\t`))
        ?.split('\t')[1]
      return leader ? containerOf(leader) : undefined
    },
    async whole(containers, container) {
      const told = await listQueues(containers, container, 'online')
      const online = told.split('\n').find((line) => line.startsWith(`${ordersQueue}\t`)) ?? ''
      return ['rabbitmq-1', 'rabbitmq-2', 'rabbitmq-3'].every((node) => online.includes(node))
    },
  },
  {
    server: 'Redis',
    containers: ['sentinel-1', 'sentinel-2', 'sentinel-3'],
    seenBy: async (containers, container) =>
      (await sentinel(containers, container, 'sentinel', 'get-master-addr-by-name', 'film-store')).split('\n')[0],
    async whole(containers, container) {
      const replicas = await sentinel(containers, container, '--raw', 'sentinel', 'replicas', 'film-store')
      return /master-link-status\nok/.test(replicas) && !replicas.includes('s_down')
    },
  },
  {
    server: 'Consul',
    containers: ['consul', 'consul-2', 'consul-3'],
    seenBy: async (containers, container) => {
      const [name] = /^\S+(?=.*\sleader\s)/m.exec(await containers.exec(container, 'consul', 'operator', 'raft', 'list-peers')) ?? []
      return name?.replace(/-1$/, '')
    },
    whole: async (containers, container) => (await containers.exec(container, 'consul', 'members')).match(/\salive\s/g)?.length === 3,
  },
]

export interface Failover {
  readonly server: string
  readonly killed: string
  /** Who leads now. */
  readonly leader: string
  /** The first order that was settled afterwards. */
  readonly orderId: string
  readonly ledMs: number
  /** From the kill until an order that was placed after it was settled. */
  readonly flowsMs: number
  /** From the return of the one that was killed until it could take over again. */
  readonly wholeMs: number
}

export const toldOf = ({ server, killed, leader, ledMs, flowsMs, wholeMs }: Failover): string =>
  `${server}: ${killed} was killed, ${leader} leads after ${seconds(ledMs)}, orders are settled after ${seconds(flowsMs)}, whole again ${seconds(wholeMs)} after its return`

/** From the kill to a new order that was placed and settled, with nobody's help. */
const flowsWithinMs = 60_000
export const flowsAgain = ({ server, flowsMs }: Failover): Entry =>
  judge({
    name: `orders flow again after the leader of ${server} died`,
    look: () => ({ faults: flowsMs <= flowsWithinMs ? [] : [seconds(flowsMs)], detail: seconds(flowsMs) }),
  })

const withinMs = 120_000

/** Where customers order, and as whom. */
interface Shop {
  readonly url: string
  readonly token: string
}

/** Kills whoever leads, waits for the next one and for orders to flow, and brings the dead one back. */
export async function killLeader(containers: Containers, shop: Shop, leader: Leader, signal: AbortSignal): Promise<Failover> {
  const askEach = async <T>(among: readonly string[], ask: (container: string) => Promise<T | undefined>): Promise<T | undefined> => {
    for (const container of among) {
      const answer = await ask(container).catch(() => undefined)
      if (answer) return answer
    }
    return undefined
  }
  const until = async <T>(what: string, look: () => Promise<T | undefined>): Promise<T> => {
    const giveUpAt = performance.now() + withinMs
    for (;;) {
      signal.throwIfAborted()
      const found = await look()
      if (found) return found
      if (performance.now() > giveUpAt) throw new Error(`${leader.server}: ${what} within ${withinMs / 1000} s`)
      await pause(100)
    }
  }
  const killed = await until('nobody leads', () => askEach(leader.containers, (each) => leader.seenBy(containers, each)))
  await until('it was never whole', () => askEach(leader.containers, (each) => leader.whole(containers, each)))
  const others = leader.containers.filter((each) => each !== killed)
  const killedAt = performance.now()
  await containers.kill(killed)
  const flowing = ordersFlow(shop, signal).then((orderId) => ({ orderId, flowsMs: performance.now() - killedAt }))
  const next = await until('nobody took over', () =>
    askEach(others, async (each) => {
      const seen = await leader.seenBy(containers, each)
      return seen === killed ? undefined : seen
    }),
  )
  const ledMs = performance.now() - killedAt
  const flowed = await flowing
  await containers.start(killed)
  const backAt = performance.now()
  await until('the one that came back did not follow', () => askEach(leader.containers, (each) => leader.whole(containers, each)))
  return { server: leader.server, killed, leader: next, ledMs, ...flowed, wholeMs: performance.now() - backAt }
}

/** Resolves with the number of an order that is placed from now on, when it is settled. */
async function ordersFlow({ url, token }: Shop, signal: AbortSignal): Promise<string> {
  const giveUpAt = performance.now() + withinMs
  const ask = async (path: string, init: RequestInit = {}) => {
    const answer = await fetch(`${url}${path}`, { ...init, signal: AbortSignal.any([signal, AbortSignal.timeout(5_000)]) })
    return answer.ok ? ((await answer.json()) as { id: string; status: string }) : undefined
  }
  const body = JSON.stringify({ filmId: 1, quantity: 1 })
  const headers = { 'content-type': 'application/json', 'idempotency-key': randomUUID(), authorization: `Bearer ${token}` }
  let id: string | undefined
  while (performance.now() < giveUpAt) {
    signal.throwIfAborted()
    try {
      id ??= (await ask('/orders', { method: 'POST', headers, body }))?.id
      const order = id === undefined ? undefined : await ask(`/orders/${id}`, { headers })
      if (order && order.status !== 'placed') return order.id
    } catch {}
    await pause(100)
  }
  throw new Error(`no order was settled within ${withinMs / 1000} s`)
}
