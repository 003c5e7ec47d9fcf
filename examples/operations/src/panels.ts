import { bucketOf, countOf, labelOf, type Metric, type MetricOf, series } from '@platform/metrics'
import { foreign } from './exporters.ts'
import { errorRatio } from './slo.ts'
import { slos } from './slos.ts'

export interface Query {
  readonly expr: string
  /** Grafana's template over the labels; none names the only series. */
  readonly legend?: string
  /** It has data only after something went wrong. */
  readonly rare?: boolean
}

export interface Panel {
  readonly title: string
  readonly kind: 'stat' | 'timeseries'
  /** Of Grafana: `reqps`, `s`, `percentunit`, `bytes`, `short`. */
  readonly unit: string
  readonly queries: readonly Query[]
}

export interface Row {
  readonly title: string
  readonly panels: readonly Panel[]
}

/** Grafana's own: at least four scrapes wide. */
const window = '$__rate_interval'
/** The variable of the dashboard. */
const job = { like: '$job' } as const

const rate = (counter: string, by: readonly string[]) => `sum by (${by.join(', ')}) (rate(${counter}[${window}]))`
const label = <Name extends Metric>(name: Name, ...labels: Parameters<typeof labelOf<Name>>[1][]) =>
  labels.map((each) => labelOf(name, each))
const braces = (labels: readonly string[]) => labels.map((each) => `{{${each}}}`).join(' ')

function line(title: string, unit: string, ...queries: Query[]): Panel {
  return { title, kind: 'timeseries', unit, queries }
}
function figure(title: string, unit: string, expr: string): Panel {
  return { title, kind: 'stat', unit, queries: [{ expr }] }
}

/** p50, p95 and p99 of a duration. */
function quantiles<Name extends MetricOf<'histogram'>>(title: string, name: Name, by: Parameters<typeof labelOf<Name>>[1][]): Panel {
  const labels = label(name, ...by)
  return line(
    title,
    's',
    ...[0.5, 0.95, 0.99].map((quantile) => ({
      expr: `histogram_quantile(${quantile}, ${rate(bucketOf(name, { job } as object), ['le', ...labels])})`,
      legend: `p${quantile * 100} ${braces(labels)}`,
    })),
  )
}

const served = 'http.server.request.duration'
const asked = 'http.client.request.duration'
const statement = 'db.client.operation.duration'
const handled = 'messaging.process.duration'
const route = label(served, 'job', 'http.route')
const failing = { 'http.response.status_code': { like: '5..' } } as const
/** As customers see it: whatever a service behind it serves is not counted twice. */
const atTheDoor = { job: 'gateway' } as const

const overview: Row = {
  title: 'Overview',
  panels: [
    figure(
      'Instances that answer',
      'short',
      `sum(${foreign('up', { job: { like: 'catalog-api|orders-api|fulfilment-worker|identity-api|gateway' } })})`,
    ),
    figure('Requests', 'reqps', `sum(rate(${countOf(served, atTheDoor)}[${window}]))`),
    figure(
      'Failed requests',
      'percentunit',
      `(sum(rate(${countOf(served, { ...atTheDoor, ...failing })}[${window}])) or vector(0)) / sum(rate(${countOf(served, atTheDoor)}[${window}]))`,
    ),
    figure('Messages handled', 'cps', `sum(rate(${series('messaging.client.consumed.messages')}[${window}]))`),
    figure(
      'Alerts that fire',
      'short',
      `count(${foreign('ALERTS', { alertstate: 'firing', alertname: { not: 'Watchdog' } })}) or vector(0)`,
    ),
    line('Firing alerts', 'short', {
      expr: `sum by (alertname) (${foreign('ALERTS', { alertstate: 'firing' })})`,
      legend: '{{alertname}}',
    }),
  ],
}

const requests: Row = {
  title: 'Requests by service and route',
  panels: [
    line('Rate', 'reqps', { expr: rate(countOf(served, { job }), route), legend: braces(route) }),
    line('Errors', 'reqps', {
      expr: rate(countOf(served, { job, ...failing }), [...route, labelOf(served, 'http.response.status_code')]),
      legend: braces([...route, labelOf(served, 'http.response.status_code')]),
      rare: true,
    }),
    quantiles('Duration', served, ['job', 'http.route']),
    line('Calls to other services', 'reqps', {
      expr: rate(countOf(asked, { job }), label(asked, 'job', 'server.address', 'http.response.status_code')),
      legend: braces(label(asked, 'job', 'server.address', 'http.response.status_code')),
    }),
    quantiles('Duration of calls', asked, ['job', 'server.address']),
  ],
}

const objectives: Row = {
  title: 'Objectives',
  panels: [
    line(
      'Error budget left of 30 days',
      'percentunit',
      ...slos.map((each) => ({
        expr: `1 - (${errorRatio(each, '30d')}) / ${Number((1 - each.objective).toPrecision(6))}`,
        legend: each.name,
      })),
    ),
    line(
      'Burn rate, last hour',
      'short',
      ...slos.map((each) => ({
        expr: `slo:error_ratio:rate1h{slo="${each.name}"} / ${Number((1 - each.objective).toPrecision(6))}`,
        legend: each.name,
      })),
    ),
  ],
}

const runtime: Row = {
  title: 'Runtime',
  panels: [
    line('Event loop, share busy', 'percentunit', { expr: series('nodejs.eventloop.utilization', { job }), legend: '{{instance}}' }),
    line('Event loop delay, p99', 's', { expr: series('nodejs.eventloop.delay.p99', { job }), legend: '{{instance}}' }),
    line('Processor', 'percentunit', { expr: rate(series('process.cpu.time', { job }), ['instance']), legend: '{{instance}}' }),
    line('Memory', 'bytes', { expr: series('process.memory.usage', { job }), legend: '{{instance}}' }),
    line('Heap', 'bytes', { expr: `sum by (instance) (${series('v8js.memory.heap.used', { job })})`, legend: '{{instance}}' }),
    line('Log lines', 'cps', { expr: rate(series('platform.logger.lines', { job }), ['job', 'level']), legend: '{{job}} {{level}}' }),
    line('Health checks that do not pass', 'short', {
      expr: `sum by (instance, ${labelOf('platform.health.check.status', 'platform.health.check.name')}) (${series('platform.health.check.status', { job, 'platform.health.check.status': { not: 'pass' } })})`,
      legend: braces(['instance', ...label('platform.health.check.status', 'platform.health.check.name')]),
    }),
    line('Events of services', 'cps', {
      expr: rate(series('platform.service.events', { job }), label('platform.service.events', 'job', 'platform.service.event')),
      legend: braces(label('platform.service.events', 'job', 'platform.service.event')),
    }),
  ],
}

const database: Row = {
  title: 'Database pools',
  panels: [
    line('Connections', 'short', {
      expr: `sum by (instance, ${labelOf('db.client.connection.count', 'db.client.connection.state')}) (${series('db.client.connection.count', { job })})`,
      legend: braces(['instance', labelOf('db.client.connection.count', 'db.client.connection.state')]),
    }),
    line('Waiting for one', 'short', { expr: series('db.client.connection.pending_requests', { job }), legend: '{{instance}}' }),
    quantiles('Wait', 'db.client.connection.wait_time', ['job']),
    quantiles('Statements', statement, ['job', 'db.operation.name']),
  ],
}

const cache: Row = {
  title: 'Cache',
  panels: [
    line('Requests', 'reqps', { expr: rate(series('platform.cache.requests'), ['instance', 'result']), legend: '{{instance}} {{result}}' }),
    line('Invalidations', 'cps', {
      expr: rate(series('platform.cache.invalidations'), ['instance', 'origin']),
      legend: '{{instance}} {{origin}}',
    }),
    line('Entries in memory', 'short', { expr: series('platform.cache.entries'), legend: '{{instance}}' }),
    line('Duration of loads, p95', 's', {
      expr: `histogram_quantile(0.95, ${rate(bucketOf('platform.cache.load.duration'), ['le', 'instance'])})`,
      legend: '{{instance}}',
    }),
  ],
}

const messages: Row = {
  title: 'Messages',
  panels: [
    line('Sent', 'cps', {
      expr: rate(
        series('messaging.client.sent.messages', { job }),
        label('messaging.client.sent.messages', 'job', 'messaging.destination.name'),
      ),
      legend: braces(label('messaging.client.sent.messages', 'job', 'messaging.destination.name')),
    }),
    line('Handled', 'cps', {
      expr: rate(
        series('messaging.client.consumed.messages', { job }),
        label('messaging.client.consumed.messages', 'job', 'messaging.destination.name'),
      ),
      legend: braces(label('messaging.client.consumed.messages', 'job', 'messaging.destination.name')),
    }),
    quantiles('Duration of handlers', handled, ['job', 'messaging.destination.name']),
    line('In queues', 'short', { expr: `sum by (queue) (${foreign('rabbitmq_detailed_queue_messages')})`, legend: '{{queue}}' }),
    line('Consumers', 'short', { expr: `sum by (queue) (${foreign('rabbitmq_detailed_queue_consumers')})`, legend: '{{queue}}' }),
    line('Dead letters', 'short', {
      expr: `sum by (job) (${series('platform.queue.dead_lettered', { job })})`,
      legend: '{{job}}',
      rare: true,
    }),
    line('Age of the oldest message in the outbox', 's', {
      expr: `max by (job) (${series('platform.queue.outbox.lag', { job })})`,
      legend: '{{job}}',
    }),
  ],
}

const resilience: Row = {
  title: 'Policies',
  panels: [
    line('Calls', 'reqps', {
      expr: rate(series('platform.resilience.calls', { job }), ['job', 'policy', 'outcome']),
      legend: '{{job}} {{policy}} {{outcome}}',
    }),
    line('Breakers that are not closed', 'short', {
      expr: `sum by (job, policy) (${series('platform.resilience.breaker.state', { job, state: { not: 'closed' } })})`,
      legend: '{{job}} {{policy}}',
    }),
    line('Retries', 'cps', {
      expr: rate(series('platform.resilience.retries', { job }), ['job', 'policy']),
      legend: '{{job}} {{policy}}',
      rare: true,
    }),
  ],
}

const door: Row = {
  title: 'The door',
  panels: [
    line('Requests by route', 'reqps', {
      expr: rate(countOf(served, atTheDoor), label(served, 'http.route')),
      legend: braces(label(served, 'http.route')),
    }),
    line('Duration, p95', 's', {
      expr: `histogram_quantile(0.95, ${rate(bucketOf(served, atTheDoor), ['le', ...label(served, 'http.route')])})`,
      legend: braces(label(served, 'http.route')),
    }),
    line('Verdicts', 'reqps', {
      expr: rate(series('platform.gateway.verdicts'), label('platform.gateway.verdicts', 'route', 'outcome')),
      legend: braces(label('platform.gateway.verdicts', 'route', 'outcome')),
    }),
    line('Configurations given to nginx', 'short', {
      expr: `sum by (outcome) (${series('platform.gateway.reloads')})`,
      legend: '{{outcome}}',
    }),
  ],
}

const servers: Row = {
  title: 'Servers',
  panels: [
    line('PostgreSQL: connections', 'short', {
      expr: `sum by (datname) (${foreign('pg_stat_database_numbackends', { datname: { like: '.+' } })})`,
      legend: '{{datname}}',
    }),
    line('PostgreSQL: commits', 'cps', {
      expr: `sum by (datname) (rate(${foreign('pg_stat_database_xact_commit', { datname: { like: '.+' } })}[${window}]))`,
      legend: '{{datname}}',
    }),
    line('PostgreSQL: size', 'bytes', { expr: foreign('pg_database_size_bytes'), legend: '{{datname}}' }),
    line('Backups: age', 's', { expr: `time() - ${foreign('film_store_backup_completed_timestamp_seconds')}`, legend: '{{part}}' }),
    line('Certificates: time left', 's', {
      expr: `${foreign('film_store_certificate_expires_timestamp_seconds')} - time()`,
      legend: '{{part}}',
      rare: true,
    }),
    line('PostgreSQL: not yet at the other', 'bytes', {
      expr: `sum by (application_name) (${foreign('pg_stat_replication_pg_wal_lsn_diff')})`,
      legend: '{{application_name}}',
      rare: true,
    }),
    line('PostgreSQL: log archived', 'cps', {
      expr: `rate(${foreign('pg_stat_archiver_archived_count')}[${window}])`,
      legend: 'segments',
    }),
    line(
      'Redis: memory',
      'bytes',
      { expr: foreign('redis_memory_used_bytes'), legend: 'used' },
      { expr: foreign('redis_memory_max_bytes'), legend: 'at most' },
    ),
    line('Redis: commands', 'ops', { expr: `rate(${foreign('redis_commands_processed_total')}[${window}])`, legend: 'commands' }),
    line('RabbitMQ: memory', 'bytes', { expr: foreign('rabbitmq_process_resident_memory_bytes'), legend: '{{instance}}' }),
    line('Consul: memory', 'bytes', { expr: foreign('consul_runtime_alloc_bytes'), legend: '{{instance}}' }),
    line('Host: processors, share busy', 'percentunit', {
      expr: `1 - avg(rate(${foreign('node_cpu_seconds_total', { mode: 'idle' })}[${window}]))`,
    }),
    line(
      'Host: memory available',
      'bytes',
      { expr: foreign('node_memory_MemAvailable_bytes') },
      { expr: foreign('node_memory_MemTotal_bytes'), legend: 'all' },
    ),
    line('Host: disk available', 'percentunit', {
      expr: `min by (mountpoint) (${foreign('node_filesystem_avail_bytes', { fstype: { unlike: 'tmpfs|overlay|squashfs|ramfs' } })} / ${foreign('node_filesystem_size_bytes')})`,
      legend: '{{mountpoint}}',
    }),
  ],
}

/** The figures of the demo's scorecard, as they are now. */
const scorecard: Row = {
  title: 'Scorecard',
  panels: [
    figure('Queries, p95', 's', `histogram_quantile(0.95, sum by (le) (rate(${bucketOf(statement)}[${window}])))`),
    figure(
      'Cache hits',
      'percentunit',
      `sum(rate(${series('platform.cache.requests', { result: 'hit' })}[${window}])) / sum(rate(${series('platform.cache.requests')}[${window}]))`,
    ),
    figure('Service to service, p95', 's', `histogram_quantile(0.95, sum by (le) (rate(${bucketOf(asked)}[${window}])))`),
    figure(
      'Traces that are sampled',
      'percentunit',
      `sum(rate(${series('platform.telemetry.spans', { sampled: 'true' })}[${window}])) / sum(rate(${series('platform.telemetry.spans')}[${window}]))`,
    ),
  ],
}

export const rows: readonly Row[] = [
  overview,
  objectives,
  scorecard,
  door,
  requests,
  messages,
  database,
  cache,
  resilience,
  runtime,
  servers,
]
