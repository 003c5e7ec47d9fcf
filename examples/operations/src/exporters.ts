/** What servers and their exporters tell, as far as rules and panels ask for it; `test:compose` sees that each is there. */
const exported = {
  up: [],
  pg_up: [],
  pg_stat_database_numbackends: ['datname'],
  pg_settings_max_connections: [],
  pg_stat_database_xact_commit: ['datname'],
  pg_database_size_bytes: ['datname'],
  pg_stat_archiver_archived_count: [],
  pg_stat_archiver_failed_count: [],
  pg_replication_is_replica: [],
  pg_replication_lag_seconds: [],
  pg_stat_replication_pg_wal_lsn_diff: ['application_name', 'client_addr', 'state'],
  film_store_backup_completed_timestamp_seconds: ['part'],
  film_store_certificate_expires_timestamp_seconds: ['part'],
  film_store_deploy_timestamp_seconds: ['service', 'version', 'outcome'],
  redis_up: [],
  redis_memory_used_bytes: [],
  redis_memory_max_bytes: [],
  redis_evicted_keys_total: [],
  redis_commands_processed_total: [],
  rabbitmq_detailed_queue_messages: ['queue', 'vhost'],
  rabbitmq_detailed_queue_consumers: ['queue', 'vhost'],
  rabbitmq_alarms_memory_used_watermark: [],
  rabbitmq_alarms_free_disk_space_watermark: [],
  rabbitmq_process_resident_memory_bytes: [],
  consul_runtime_alloc_bytes: [],
  node_cpu_seconds_total: ['cpu', 'mode'],
  node_memory_MemAvailable_bytes: [],
  node_memory_MemTotal_bytes: [],
  node_filesystem_avail_bytes: ['mountpoint', 'fstype'],
  node_filesystem_size_bytes: ['mountpoint', 'fstype'],
  ALERTS: ['alertname', 'alertstate', 'severity'],
} as const

type Exported = typeof exported
export type ExportedName = keyof Exported
type Matchers<Name extends ExportedName> = {
  readonly [Label in Exported[Name][number] | 'job' | 'instance']?:
    | string
    | { readonly not: string }
    | { readonly like: string }
    | { readonly unlike: string }
}

/** With `--tls` alone, with `--ha` alone, and after a deploy. */
const later: readonly ExportedName[] = [
  'film_store_certificate_expires_timestamp_seconds',
  'pg_stat_replication_pg_wal_lsn_diff',
  'film_store_deploy_timestamp_seconds',
]

/** Those that are there in any store. */
export const exportedNames: readonly string[] = Object.keys(exported).filter((name) => !later.includes(name as ExportedName))

/** A selector of PromQL for a series that is not ours. */
export function foreign<Name extends ExportedName>(name: Name, matchers: Matchers<Name> = {}): string {
  const text = Object.entries(matchers as Record<string, string | { not?: string; like?: string; unlike?: string }>).map(
    ([label, wanted]) => {
      if (typeof wanted === 'string') return `${label}=${JSON.stringify(wanted)}`
      if (wanted.not !== undefined) return `${label}!=${JSON.stringify(wanted.not)}`
      return wanted.like === undefined ? `${label}!~${JSON.stringify(wanted.unlike)}` : `${label}=~${JSON.stringify(wanted.like)}`
    },
  )
  return text.length === 0 ? name : `${name}{${text.join(',')}}`
}
