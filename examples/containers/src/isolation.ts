import { reachable } from './reach.ts'

const apis = ['catalog-api-1', 'catalog-api-2', 'orders-api-1', 'orders-api-2'].flatMap((each) => [`${each}:3000`, `${each}:9000`])
const identities = ['identity-api:3000', 'identity-api:9000']
const gateway = ['gateway:8080', 'gateway:9000']
const worker = ['fulfilment-worker:9000']
const servers = ['postgres:5432', 'redis:6379', 'rabbitmq:5672', 'rabbitmq:15692', 'consul:8500']

/** Who can be reached from inside each network; everything else must not be. */
export type Reach = Readonly<Record<string, readonly string[]>>

const core: Reach = {
  edge: [...gateway, 'a way out'],
  app: [...gateway, ...identities, ...apis],
  control: [...gateway, 'redis:6379', 'consul:8500'],
  data: [...apis, ...worker, ...servers],
}

const exporters = ['postgres-exporter:9187', 'redis-exporter:9121']
const watchers = ['prometheus:9090', 'alertmanager:9093', 'node-exporter:9100']

/** The store with what watches it. */
export const reachWatched: Reach = {
  ...core,
  data: [...core['data']!, ...exporters],
  obs: [...exporters, ...watchers, 'a way out'],
}

/** With a second of every server: what they say to each other, and who decides, stays in `data`. */
const others = [
  'postgres:8008',
  'postgres-2:5432',
  'postgres-2:8008',
  'rabbitmq-1:4369',
  'rabbitmq-1:25672',
  'rabbitmq-2:5672',
  'rabbitmq-2:25672',
  'rabbitmq-3:5672',
  'rabbitmq-3:25672',
  'consul:8300',
  'consul-2:8300',
  'consul-3:8300',
]
const stores = ['redis-2:6379', 'sentinel-1:26379', 'sentinel-2:26379', 'sentinel-3:26379', 'consul-2:8500', 'consul-3:8500']
export const reachHa: Reach = {
  ...core,
  control: [...core['control']!, ...stores],
  data: [...core['data']!, ...others, ...stores],
}

/** What gathers lines and traces, and shows them; services bring their traces to Jaeger. */
export const logPorts: Readonly<Record<string, readonly number[]>> = {
  grafana: [3000],
  elasticsearch: [9200],
  logstash: [5044],
  kibana: [5601],
  jaeger: [4318, 16686],
}
const gatherers = Object.entries(logPorts).flatMap(([name, ports]) => ports.map((port) => `${name}:${port}`))
export const reachLogs: Reach = {
  ...reachWatched,
  data: [...reachWatched['data']!, 'jaeger:4318', 'jaeger:16686'],
  obs: [...reachWatched['obs']!, ...gatherers],
}

/** What differs between the networks of a running project and what may be reached: nothing, when all is as it should be. */
export async function strayReach(project: string, expected: Reach, networks: readonly string[] = Object.keys(expected)): Promise<string[]> {
  const targets = [...new Set(Object.values(expected).flat())].filter((each) => each !== 'a way out')
  const found = await Promise.all(networks.map((network) => reachable(`${project}_${network}`, targets)))
  return networks.flatMap((network, place) => {
    const wanted = expected[network]!
    return [
      ...found[place]!.filter((each) => !wanted.includes(each)).map((each) => `${network} reaches ${each}`),
      ...wanted.filter((each) => !found[place]!.includes(each)).map((each) => `${network} does not reach ${each}`),
    ]
  })
}
