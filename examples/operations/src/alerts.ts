import { labelOf, series } from '@platform/metrics'
import type { Alert } from './alert.ts'
import { day, hour, minute, second } from './clock.ts'
import { foreign } from './exporters.ts'
import { servers, services } from './targets.ts'

const always = (value: number | string) => `${value}+0x200`
const serviceJobs = services.map(({ name }) => name).join('|')
const serverJobs = servers.map(({ name }) => name).join('|')
const pool = labelOf('db.client.connection.pending_requests', 'db.client.connection.pool.name')

/** A counter went up within the window, or began: its first value is no increase, since there was none before. */
const grew = (counter: string, window: string) =>
  `sum by (job) (increase(${counter}[${window}])) > 0 or (sum by (job) (${counter}) > 0 unless sum by (job) (${counter} offset ${window}))`

const reach: readonly Alert[] = [
  {
    name: 'ServerDown',
    severity: 'page',
    summary: 'A server that the store needs does not answer',
    expr: () =>
      [foreign('up', { job: { like: serverJobs } }), foreign('pg_up'), foreign('redis_up')].map((each) => `${each} == 0`).join(' or '),
    forMs: minute,
    fires: {
      series: {
        'pg_up{job="postgres",instance="postgres-exporter"}': always(0),
        'up{job="postgres",instance="postgres-exporter"}': always(1),
      },
      afterMs: 3 * minute,
      labels: { job: 'postgres', instance: 'postgres-exporter' },
    },
    silent: { series: { 'up{job="consul",instance="consul"}': '1 0 1+0x10' }, afterMs: 2 * minute },
  },
  {
    name: 'ServiceDown',
    severity: 'page',
    summary: 'No instance of a service answers',
    expr: () => `max by (job) (${foreign('up', { job: { like: serviceJobs } })}) == 0`,
    forMs: minute,
    fires: {
      series: { 'up{job="orders-api",instance="1"}': always(0), 'up{job="orders-api",instance="2"}': always(0) },
      afterMs: 3 * minute,
      labels: { job: 'orders-api' },
    },
    silent: {
      series: { 'up{job="orders-api",instance="1"}': always(0), 'up{job="orders-api",instance="2"}': always(1) },
      afterMs: 3 * minute,
    },
  },
  {
    name: 'InstanceDown',
    severity: 'ticket',
    summary: 'One instance of a service, or one that watches, has not answered for a while',
    expr: () => `${foreign('up', { job: { unlike: serverJobs } })} == 0`,
    forMs: 10 * minute,
    fires: {
      series: { 'up{job="orders-api",instance="orders-api-1"}': always(0) },
      afterMs: 12 * minute,
      labels: { job: 'orders-api', instance: 'orders-api-1' },
    },
    silent: { series: { 'up{job="orders-api",instance="orders-api-1"}': always(0) }, afterMs: 5 * minute },
  },
  {
    name: 'CheckFails',
    severity: 'ticket',
    summary: 'A health check of an instance has failed for a while',
    expr: () => `${series('platform.health.check.status', { 'platform.health.check.status': 'fail' })} == 1`,
    forMs: 5 * minute,
    fires: {
      series: { [series('platform.health.check.status', { 'platform.health.check.status': 'fail', job: 'catalog-api' })]: always(1) },
      afterMs: 6 * minute,
      labels: { job: 'catalog-api', [labelOf('platform.health.check.status', 'platform.health.check.status')]: 'fail' },
    },
    silent: {
      series: { [series('platform.health.check.status', { 'platform.health.check.status': 'warn' })]: always(1) },
      afterMs: 6 * minute,
    },
  },
]

const messages: readonly Alert[] = [
  {
    name: 'QueueGrows',
    severity: 'page',
    summary: 'Messages gather in a queue: nobody takes them, or not fast enough',
    expr: ({ scale }) => `sum by (job, queue) (${foreign('rabbitmq_detailed_queue_messages')}) > ${Math.ceil(1_000 * scale)}`,
    forMs: 5 * minute,
    fires: {
      series: { 'rabbitmq_detailed_queue_messages{job="rabbitmq-queues",queue="orders.placed.v1",vhost="/"}': '2000+10x200' },
      afterMs: 6 * minute,
      labels: { job: 'rabbitmq-queues', queue: 'orders.placed.v1' },
    },
    silent: {
      series: { 'rabbitmq_detailed_queue_messages{job="rabbitmq-queues",queue="orders.placed.v1",vhost="/"}': '2000-400x200' },
      afterMs: 6 * minute,
    },
  },
  {
    name: 'DeadLetters',
    severity: 'ticket',
    summary: 'Messages failed for good and wait for a decision',
    expr: ({ duration }) => grew(series('platform.queue.dead_lettered'), duration(10 * minute)),
    forMs: 0,
    fires: {
      series: { [series('platform.queue.dead_lettered', { job: 'orders-api' })]: '_x5 1+0x100' },
      afterMs: 7 * minute,
      labels: { job: 'orders-api' },
    },
    silent: { series: { [series('platform.queue.dead_lettered', { job: 'orders-api' })]: always(5) }, afterMs: 20 * minute },
  },
  {
    name: 'OutboxLags',
    severity: 'page',
    summary: 'What was committed is not announced: the outbox does not reach the broker',
    expr: ({ scale }) => `max by (job) (${series('platform.queue.outbox.lag')}) > ${60 * scale}`,
    forMs: 2 * minute,
    fires: {
      series: { [series('platform.queue.outbox.lag', { job: 'orders-api' })]: '0+60x100' },
      afterMs: 6 * minute,
      labels: { job: 'orders-api' },
    },
    silent: { series: { [series('platform.queue.outbox.lag', { job: 'orders-api' })]: '0 90 0 90+0x1 0+0x100' }, afterMs: 4 * minute },
  },
  {
    name: 'BrokerRefuses',
    severity: 'page',
    summary: 'RabbitMQ takes no messages: its memory or its disk is short',
    expr: () => `${foreign('rabbitmq_alarms_memory_used_watermark')} == 1 or ${foreign('rabbitmq_alarms_free_disk_space_watermark')} == 1`,
    forMs: minute,
    fires: {
      series: { 'rabbitmq_alarms_memory_used_watermark{job="rabbitmq",instance="rabbitmq"}': always(1) },
      afterMs: 2 * minute,
      labels: { job: 'rabbitmq', instance: 'rabbitmq' },
    },
    silent: { series: { 'rabbitmq_alarms_memory_used_watermark{job="rabbitmq",instance="rabbitmq"}': always(0) }, afterMs: 2 * minute },
  },
]

const saturation: readonly Alert[] = [
  {
    name: 'PoolExhausted',
    severity: 'page',
    summary: 'Requests wait for a database connection all the time',
    expr: ({ duration }) => `min_over_time(${series('db.client.connection.pending_requests')}[${duration(2 * minute)}]) > 0`,
    forMs: minute,
    fires: {
      series: {
        [series('db.client.connection.pending_requests', { job: 'orders-api', 'db.client.connection.pool.name': 'main' })]: always(3),
      },
      afterMs: 5 * minute,
      labels: { job: 'orders-api', [pool]: 'main' },
    },
    silent: {
      series: {
        [series('db.client.connection.pending_requests', { job: 'orders-api', 'db.client.connection.pool.name': 'main' })]:
          '9 0 9 0 9 0 9 0',
      },
      afterMs: 6 * minute,
    },
  },
  {
    name: 'BreakerOpen',
    severity: 'ticket',
    summary: 'A circuit breaker has been open for a while: what is behind it does not recover',
    // Each trial call that fails has been half-open before.
    expr: () => `sum by (job, policy) (${series('platform.resilience.breaker.state', { state: { like: 'open|half-open' } })}) > 0`,
    forMs: 5 * minute,
    fires: {
      series: {
        [series('platform.resilience.breaker.state', { state: 'open', policy: 'catalog-api', job: 'orders-api' })]: '1 1 0 1 1 0 1 1 0 1',
        [series('platform.resilience.breaker.state', { state: 'half-open', policy: 'catalog-api', job: 'orders-api' })]:
          '0 0 1 0 0 1 0 0 1 0',
      },
      afterMs: 6 * minute,
      labels: { job: 'orders-api', policy: 'catalog-api' },
    },
    silent: {
      series: {
        [series('platform.resilience.breaker.state', { state: 'open', policy: 'catalog-api', job: 'orders-api' })]: '1 1 1 0 1 1 1',
      },
      afterMs: 6 * minute,
    },
  },
  {
    name: 'EventLoopBusy',
    severity: 'ticket',
    summary: 'A process has no time left: its event loop is busy nearly all the time',
    // Whoever is that busy lets one question or other go unanswered: a gap is no rest.
    expr: ({ duration }) => `min_over_time(${series('nodejs.eventloop.utilization')}[${duration(5 * minute)}]) > 0.9`,
    forMs: 5 * minute,
    fires: {
      series: {
        [series('nodejs.eventloop.utilization', { job: 'catalog-api', instance: 'catalog-api-1' })]:
          '0.97x2 stale 0.97 stale stale 0.97x2 stale 0.97x4',
      },
      afterMs: 12 * minute,
      labels: { job: 'catalog-api', instance: 'catalog-api-1' },
    },
    silent: {
      series: { [series('nodejs.eventloop.utilization', { job: 'catalog-api' })]: '0.97x3 0.4 0.97x3 0.4 0.97x6' },
      afterMs: 12 * minute,
    },
  },
  {
    name: 'LogLinesLost',
    severity: 'ticket',
    summary: 'Log lines were lost: whoever takes them is too slow or gone',
    expr: ({ duration }) => grew(series('platform.logger.dropped'), duration(10 * minute)),
    forMs: 0,
    fires: {
      series: { [series('platform.logger.dropped', { job: 'orders-api' })]: '0+7x100' },
      afterMs: 5 * minute,
      labels: { job: 'orders-api' },
    },
    silent: { series: { [series('platform.logger.dropped', { job: 'orders-api' })]: always(7) }, afterMs: 20 * minute },
  },
  {
    name: 'DiskFills',
    severity: 'page',
    summary: 'A file system of the host is nearly full',
    expr: () => {
      const real = { fstype: { unlike: 'tmpfs|overlay|squashfs|ramfs' } } as const
      return `min by (job, mountpoint) (${foreign('node_filesystem_avail_bytes', real)} / ${foreign('node_filesystem_size_bytes', real)}) < 0.1`
    },
    forMs: 10 * minute,
    fires: {
      series: {
        'node_filesystem_avail_bytes{job="node",mountpoint="/",fstype="ext4"}': always(5),
        'node_filesystem_size_bytes{job="node",mountpoint="/",fstype="ext4"}': always(100),
      },
      afterMs: 12 * minute,
      labels: { job: 'node', mountpoint: '/' },
    },
    silent: {
      series: {
        'node_filesystem_avail_bytes{job="node",mountpoint="/run",fstype="tmpfs"}': always(5),
        'node_filesystem_size_bytes{job="node",mountpoint="/run",fstype="tmpfs"}': always(100),
      },
      afterMs: 12 * minute,
    },
  },
]

const certificates = foreign('film_store_certificate_expires_timestamp_seconds')
const backups = foreign('film_store_backup_completed_timestamp_seconds')
const archived = foreign('pg_stat_archiver_archived_count')
const notArchived = foreign('pg_stat_archiver_failed_count')

const safety: readonly Alert[] = [
  {
    name: 'BackupOld',
    severity: 'page',
    summary: 'The last backup is older than a day',
    expr: ({ scale }) => `time() - ${backups} > ${(26 * hour * scale) / second}`,
    forMs: hour,
    fires: {
      series: { 'film_store_backup_completed_timestamp_seconds{job="node",instance="node-exporter",part="consul"}': '0+0x2000' },
      afterMs: 28 * hour,
      labels: { job: 'node', instance: 'node-exporter', part: 'consul' },
    },
    silent: {
      series: {
        'film_store_backup_completed_timestamp_seconds{job="node",instance="node-exporter",part="consul"}': '0+0x1439 86400+0x1000',
      },
      afterMs: 30 * hour,
    },
  },
  {
    name: 'BackupMissing',
    severity: 'page',
    summary: 'There is no backup of a part, or nothing is known of it',
    // Of each part by itself: that there is one of another says nothing.
    expr: () =>
      ['postgres', 'rabbitmq', 'consul']
        .map((part) => `absent(${foreign('film_store_backup_completed_timestamp_seconds', { part })})`)
        .join(' or '),
    forMs: hour,
    fires: {
      series: {
        'film_store_backup_completed_timestamp_seconds{job="node",part="postgres"}': always(0),
        'film_store_backup_completed_timestamp_seconds{job="node",part="rabbitmq"}': always(0),
      },
      afterMs: 2 * hour,
      labels: { part: 'consul' },
    },
    silent: {
      series: {
        'film_store_backup_completed_timestamp_seconds{job="node",part="postgres"}': always(0),
        'film_store_backup_completed_timestamp_seconds{job="node",part="rabbitmq"}': always(0),
        'film_store_backup_completed_timestamp_seconds{job="node",part="consul"}': always(0),
      },
      afterMs: 2 * hour,
    },
  },
  {
    name: 'ReplicationLags',
    severity: 'page',
    summary: 'A second PostgreSQL does not follow the leader: if that dies, what was committed last may be lost, or nobody takes over',
    // A replica that hears from nobody thinks that it is up to date, so the leader is asked as well whom it sends to.
    expr: ({ scale }) => {
      const replicas = foreign('pg_replication_is_replica')
      const behind = foreign('pg_stat_replication_pg_wal_lsn_diff')
      return [
        `max by (job) (${foreign('pg_replication_lag_seconds')}) > ${30 * scale}`,
        `max by (job) (${behind}) > ${64 * 1024 * 1024}`,
        `count by (job) (${replicas} == 1) > (count by (job) (${behind}) or 0 * count by (job) (${replicas}))`,
      ].join(' or ')
    },
    forMs: 2 * minute,
    fires: {
      series: {
        'pg_replication_is_replica{job="postgres",instance="postgres-exporter"}': always(0),
        'pg_replication_is_replica{job="postgres",instance="postgres-2-exporter"}': always(1),
        'pg_replication_lag_seconds{job="postgres",instance="postgres-2-exporter"}': always(0),
      },
      afterMs: 4 * minute,
      labels: { job: 'postgres' },
    },
    silent: {
      series: {
        'pg_replication_is_replica{job="postgres",instance="postgres-exporter"}': always(0),
        'pg_replication_is_replica{job="postgres",instance="postgres-2-exporter"}': always(1),
        'pg_replication_lag_seconds{job="postgres",instance="postgres-2-exporter"}': always(3),
        'pg_stat_replication_pg_wal_lsn_diff{job="postgres",instance="postgres-exporter",application_name="postgres-2"}': always(5_000),
      },
      afterMs: 4 * minute,
    },
  },
  {
    name: 'CertificateExpires',
    severity: 'ticket',
    summary: 'A certificate ends within five days: it should have been renewed ten days before its end',
    expr: ({ scale }) => `${certificates} - time() < ${(5 * day * scale) / second}`,
    forMs: hour,
    fires: {
      series: { 'film_store_certificate_expires_timestamp_seconds{job="node",instance="node-exporter",part="redis"}': '864000+0x9000' },
      afterMs: 6 * day,
      labels: { job: 'node', instance: 'node-exporter', part: 'redis' },
    },
    silent: {
      series: { 'film_store_certificate_expires_timestamp_seconds{job="node",instance="node-exporter",part="redis"}': '864000+0x9000' },
      afterMs: 4 * day,
    },
  },
  {
    name: 'LogNotArchived',
    severity: 'page',
    summary: 'What is committed does not reach the backups: a loss of the server would cost more than a minute',
    expr: ({ duration }) =>
      `increase(${notArchived}[${duration(10 * minute)}]) > 0 unless increase(${archived}[${duration(10 * minute)}]) > 0`,
    forMs: 5 * minute,
    fires: {
      series: {
        'pg_stat_archiver_failed_count{job="postgres",instance="postgres-exporter"}': '0+1x100',
        'pg_stat_archiver_archived_count{job="postgres",instance="postgres-exporter"}': always(7),
      },
      afterMs: 20 * minute,
      labels: { job: 'postgres', instance: 'postgres-exporter' },
    },
    silent: {
      series: {
        'pg_stat_archiver_failed_count{job="postgres",instance="postgres-exporter"}': '0 1 2 2+0x100',
        'pg_stat_archiver_archived_count{job="postgres",instance="postgres-exporter"}': '7 7 7 8+1x100',
      },
      afterMs: 20 * minute,
    },
  },
]

/** Symptoms: what customers feel, or will when nobody acts. */
export const alerts: readonly Alert[] = [...reach, ...messages, ...saturation, ...safety]
