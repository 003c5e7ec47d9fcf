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
}

const service = (name: string, targets: readonly string[]): Job => ({ name, targets, secureTargets: targets, token: 'admin_token' })

export const services: readonly Job[] = [
  service('catalog-api', ['catalog-api-1:9000', 'catalog-api-2:9000']),
  service('orders-api', ['orders-api-1:9000', 'orders-api-2:9000']),
  service('fulfilment-worker', ['fulfilment-worker:9000']),
  service('identity-api', ['identity-api:9000']),
  service('gateway', ['gateway:9000']),
]

export const servers: readonly Job[] = [
  { name: 'postgres', targets: ['postgres-exporter:9187'] },
  { name: 'redis', targets: ['redis-exporter:9121'] },
  { name: 'rabbitmq', targets: ['rabbitmq:15692'] },
  {
    name: 'rabbitmq-queues',
    targets: ['rabbitmq:15692'],
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
  },
]

const watchers: readonly Job[] = [
  { name: 'node', targets: ['node-exporter:9100'] },
  { name: 'prometheus', targets: ['prometheus.obs:9090'] },
  { name: 'alertmanager', targets: ['alertmanager:9093'] },
]

export const jobs: readonly Job[] = [...services, ...servers, ...watchers]

/** `prometheus.yml`, or `prometheus.tls.yml`. At a faster clock the targets are asked as much more often. */
export function prometheusConfig({ scale }: Clock, tls: boolean): object {
  // Never so often that the asking is what keeps the store busy.
  const often = (ms: number) => writeDuration(Math.max(second, Math.round(ms * scale)))
  return {
    global: { scrape_interval: often(minute / 4), scrape_timeout: often(minute / 6), evaluation_interval: often(minute / 4) },
    rule_files: ['/etc/prometheus/*.rules.yml'],
    alerting: { alertmanagers: [{ static_configs: [{ targets: ['alertmanager:9093'] }] }] },
    scrape_configs: jobs.map(({ name, targets, secureTargets, path, params, token }) => ({
      job_name: name,
      ...(tls && secureTargets && { scheme: 'https', tls_config: { ca_file: '/trusted/ca.pem' } }),
      ...(path && { metrics_path: path }),
      ...(params && { params }),
      ...(token && { authorization: { credentials_file: `/run/secrets/${token}` } }),
      static_configs: [{ targets: (tls && secureTargets) || targets }],
      // The container's name says more than its address.
      relabel_configs: [{ source_labels: ['__address__'], regex: '([^:]+):.*', target_label: 'instance', replacement: '$1' }],
    })),
  }
}
