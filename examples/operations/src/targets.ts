import { type Clock, minute, second, writeDuration } from './clock.ts'

export interface Job {
  readonly name: string
  /** `host:port` on the network where Prometheus finds it. */
  readonly targets: readonly string[]
  readonly path?: string
  readonly params?: Readonly<Record<string, readonly string[]>>
  /** The secret that opens it. */
  readonly token?: string
  /** Where it is asked by https, when the parts of the store speak TLS. Default: nowhere. */
  readonly secureTargets?: readonly string[]
  /** All of them, where no server is alone. Default: as otherwise. */
  readonly haTargets?: readonly string[]
}

/** The variants of the store that Prometheus must know of. */
export interface StoreKind {
  readonly tls?: boolean
  readonly ha?: boolean
}

const service = (name: string, targets: readonly string[]): Job => ({ name, targets, secureTargets: targets, token: 'admin_token' })

export const services: readonly Job[] = [
  service('catalog-api', ['catalog-api-1:9000', 'catalog-api-2:9000']),
  service('orders-api', ['orders-api-1:9000', 'orders-api-2:9000']),
  service('fulfilment-worker', ['fulfilment-worker:9000']),
  service('identity-api', ['identity-api:9000']),
  service('gateway', ['gateway:9000']),
]

/** A node tells of the queues that it leads. */
const brokers = ['rabbitmq-1:15692', 'rabbitmq-2:15692', 'rabbitmq-3:15692']

export const servers: readonly Job[] = [
  { name: 'postgres', targets: ['postgres-exporter:9187'], haTargets: ['postgres-exporter:9187', 'postgres-2-exporter:9187'] },
  { name: 'redis', targets: ['redis-exporter:9121'], haTargets: ['redis-exporter:9121', 'redis-2-exporter:9121'] },
  { name: 'rabbitmq', targets: ['rabbitmq:15692'], haTargets: brokers },
  {
    name: 'rabbitmq-queues',
    targets: ['rabbitmq:15692'],
    haTargets: brokers,
    path: '/metrics/detailed',
    params: { family: ['queue_coarse_metrics', 'queue_consumer_count'] },
  },
  {
    name: 'consul',
    targets: ['consul:8500'],
    path: '/v1/agent/metrics',
    params: { format: ['prometheus'] },
    token: 'metrics_consul_token',
    secureTargets: ['consul:8501'],
    haTargets: ['consul-1.data:8500', 'consul-2.data:8500', 'consul-3.data:8500'],
  },
]

const watchers: readonly Job[] = [
  { name: 'node', targets: ['node-exporter:9100'] },
  { name: 'prometheus', targets: ['prometheus.obs:9090'] },
  { name: 'alertmanager', targets: ['alertmanager:9093'] },
]

export const jobs: readonly Job[] = [...services, ...servers, ...watchers]

/** `prometheus.yml`, `prometheus.tls.yml`, `prometheus.ha.yml`. At a faster clock the targets are asked as much more often. */
export function prometheusConfig({ scale }: Clock, { tls = false, ha = false }: StoreKind): object {
  // Never so often that the asking is what keeps the store busy.
  const often = (ms: number) => writeDuration(Math.max(second, Math.round(ms * scale)))
  return {
    global: { scrape_interval: often(minute / 4), scrape_timeout: often(minute / 6), evaluation_interval: often(minute / 4) },
    rule_files: ['/etc/prometheus/*.rules.yml'],
    alerting: { alertmanagers: [{ static_configs: [{ targets: ['alertmanager:9093'] }] }] },
    scrape_configs: jobs.map(({ name, targets, secureTargets, haTargets, path, params, token }) => ({
      job_name: name,
      ...(tls && secureTargets && { scheme: 'https', tls_config: { ca_file: '/trusted/ca.pem' } }),
      ...(path && { metrics_path: path }),
      ...(params && { params }),
      ...(token && { authorization: { credentials_file: `/run/secrets/${token}` } }),
      static_configs: [{ targets: (tls && secureTargets) || (ha && haTargets) || targets }],
      // The container's name says more than its address.
      relabel_configs: [{ source_labels: ['__address__'], regex: '([^:]+):.*', target_label: 'instance', replacement: '$1' }],
    })),
  }
}
