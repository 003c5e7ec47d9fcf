import { setTimeout as pause } from 'node:timers/promises'
import { psql } from '../psql.ts'
import type { Failure, Stage } from './failure.ts'

/** Where node-exporter reads what others tell it, as `backup` sees it. */
const told = '/metrics'

/** A certificate of the same name and key by the same authority, with another end, and the record of it. */
const endsInAnHour = `
certificate=/tls/redis/certificate
openssl x509 -in $certificate.pem -CA /tls/trusted/ca.pem -CAkey /tls/authority/key.pem -not_after "$(date -u -d '1 hour' +%Y%m%d%H%M%SZ)" -out $certificate.new
openssl pkey -in $certificate.pem >> $certificate.new
chmod 444 $certificate.new
mv $certificate.new $certificate.pem
bash /etc/film-store/certificates.sh record`

/** A disk of a host, by its size: as an exporter tells of one, since nobody can be asked to fill a real one. */
const fullDisk = `
disk='{device="rehearsal",device_error="",fstype="ext4",mountpoint="/rehearsal"}'
{
  printf '# HELP %s Filesystem space available to non-root users in bytes.\\n# TYPE %s gauge\\n%s%s 5e9\\n' $1 $1 $1 "$disk"
  printf '# HELP %s Filesystem size in bytes.\\n# TYPE %s gauge\\n%s%s 100e9\\n' $2 $2 $2 "$disk"
} > ${told}/rehearsal.tmp
mv ${told}/rehearsal.tmp ${told}/rehearsal.prom`

/** PostgreSQL looks for what is to be archived once a minute, or when there is something: a sixtieth of its minute. */
async function archiveAllTheTime({ compose }: Stage, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await psql(compose, 'postgres', 'postgres', "select pg_logical_emit_message(false, 'rehearsal', ''); select pg_switch_wal()")
    await pause(1_000)
  }
}

export const ofSafety: readonly Failure[] = [
  {
    what: 'a backup is two days old, another is missing, and nobody makes one',
    isCore: true,
    alerts: [
      { labels: { alertname: 'BackupOld', part: 'postgres' }, to: 'page' },
      { labels: { alertname: 'BackupMissing', part: 'consul' }, to: 'page' },
    ],
    async inject({ compose }) {
      await compose('exec', '-T', 'backup', 'backup', 'record', 'postgres', String(Math.floor(Date.now() / 1000) - 2 * 86_400))
      // First, since it would make at once what it finds missing.
      await compose('stop', 'backup')
      await compose('--progress=quiet', 'run', '--rm', '--no-deps', '--entrypoint', 'rm', 'backup', `${told}/consul.prom`)
      return async () => {
        // The one that is missing is made by itself.
        await compose('start', 'backup')
        await compose('exec', '-T', 'backup', 'backup', 'now', 'postgres')
      }
    },
  },
  {
    what: 'the place of the backups is gone',
    alerts: [{ labels: { alertname: 'LogNotArchived', job: 'postgres' }, to: 'page' }],
    async inject(stage) {
      const move = (from: string, to: string) => stage.compose('exec', '-T', 'postgres', 'mv', `/backups/${from}`, `/backups/${to}`)
      await move('postgres', 'postgres.away')
      const stop = new AbortController()
      const archiving = archiveAllTheTime(stage, stop.signal)
      return async () => {
        stop.abort()
        await archiving
        await move('postgres.away', 'postgres')
        await psql(stage.compose, 'postgres', 'postgres', 'select pg_switch_wal()')
      }
    },
  },
  {
    what: 'a disk has five of a hundred gigabytes left (by what is told of it)',
    alerts: [{ labels: { alertname: 'DiskFills', job: 'node', mountpoint: '/rehearsal' }, to: 'page' }],
    async inject({ compose }) {
      const names = ['node_filesystem_avail_bytes', 'node_filesystem_size_bytes']
      await compose('exec', '-T', 'backup', 'bash', '-c', fullDisk, 'disk', ...names)
      return () => compose('exec', '-T', 'backup', 'rm', `${told}/rehearsal.prom`)
    },
  },
  {
    what: 'a certificate ends in an hour and is not renewed',
    store: 'tls',
    alerts: [{ labels: { alertname: 'CertificateExpires', part: 'redis' }, to: 'ticket' }],
    async inject({ compose }) {
      const inside = (...command: string[]) => compose('exec', '-T', 'certificates', 'bash', ...command)
      await inside('-ec', endsInAnHour)
      return () => inside('/etc/film-store/certificates.sh', 'renew')
    },
  },
]
