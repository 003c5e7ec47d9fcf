#!/bin/bash
# Backups of what cannot be made again: PostgreSQL by pgBackRest, beside it the definitions of RabbitMQ and what Consul holds.
#   schedule         one when the last is a day old, again and again
#   now [PART …]     one now: of postgres, rabbitmq, consul, or of all
#   restore [TIME]   fills an empty data folder: with all that was archived, or with what was true at TIME (2026-01-31 12:00:00+00)
#   deploy SERVICE VERSION OUTCOME LINE   tells the watch and the logs of a release
#   restore-consul   gives the newest snapshot to the Consul that runs
set -euo pipefail
every=86400 retry=600 days=30
pg() { pgbackrest --stanza=film-store "$@"; }
key() { openssl enc -aes-256-cbc -pbkdf2 -pass file:/run/secrets/backup_key "$@"; }
# A header of curl, read from a file so that no process shows it.
as_consul() { printf 'header = "X-Consul-Token: %s"\n' "$(cat /run/secrets/consul_management_token)"; }
as_backup() { printf 'user = "backup:%s"\n' "$(cat /run/secrets/backup_queue_password)"; }
ask() { curl --config "$1" --fail --silent --show-error --max-time 60 "${@:2}"; }

# What a command says, encrypted beside the repository, for as many days. A command that fails leaves nothing: a restore takes the newest.
keep() {
  local folder=/backups/$1
  mkdir -p "$folder"
  "${@:2}" | key > "$folder/unfinished"
  mv "$folder/unfinished" "$folder/$(date -u +%Y%m%dT%H%M%SZ).enc"
  find "$folder" -name '*.enc' -mtime "+$days" -delete
}

# For node-exporter.
record() {
  local name=film_store_backup_completed_timestamp_seconds
  printf '# HELP %s When the last backup was complete.\n# TYPE %s gauge\n%s{part="%s"} %s\n' $name $name $name "$1" "${2:-$(date +%s)}" > "/metrics/$1.tmp"
  mv "/metrics/$1.tmp" "/metrics/$1.prom"
}

case $1 in
  postgres)
    pg stanza-create
    # On Sundays all of it, on other days what has changed; the first is always whole.
    if [ "$(date -u +%u)" = 7 ]; then pg --type=full backup; else pg --type=incr backup; fi
    ;;
  # Queues are declared by the services and users come from the secrets; here is what somebody added by hand.
  rabbitmq) keep rabbitmq ask <(as_backup) "${RABBITMQ_URL:-http://rabbitmq:15672}/api/definitions/%2F" ;;
  consul) keep consul ask <(as_consul) "${CONSUL_URL:-http://consul:8500}/v1/snapshot" ;;
  now)
    shift
    [ $# -gt 0 ] || set -- postgres rabbitmq consul
    failed=0
    for part in "$@"; do
      if "$0" "$part"; then record "$part"; else echo "the backup of $part failed" >&2; failed=1; fi
    done
    exit $failed
    ;;
  schedule)
    # In the midst of a backup as well: the next start makes it again. This image is stopped by SIGINT.
    trap 'exit 0' TERM INT
    while :; do
      wait=60 due=()
      for part in postgres rabbitmq consul; do
        [ -n "$(find /metrics -name "$part.prom" -newermt "-$every seconds")" ] || due+=("$part")
      done
      # Each by itself: one that fails is tried again, whatever became of the others.
      if [ ${#due[@]} -gt 0 ]; then
        "$0" now "${due[@]}" &
        wait $! || wait=$retry
      fi
      sleep $wait & wait $!
    done
    ;;
  record) record "$2" "$3" ;;
  deploy)
    name=film_store_deploy_timestamp_seconds
    printf '# HELP %s When a service was last deployed.\n# TYPE %s gauge\n%s{service="%s",version="%s",outcome="%s"} %s\n' $name $name $name "$2" "$3" "$4" "$(date +%s)" > /metrics/deploy.tmp
    mv /metrics/deploy.tmp "/metrics/deploy-$2.prom"
    # Among what this container says.
    printf '%s\n' "$5" > /proc/1/fd/1
    ;;
  restore)
    if [ -n "$(find "$PGDATA" -mindepth 1 -print -quit)" ]; then
      echo "there is a database already: a restore needs an empty volume" >&2
      exit 1
    fi
    # Half a database is none: whoever tries again, with another time or another key, finds the volume as empty as it was.
    give_up() {
      pg_ctl stop --silent --mode=immediate 2> /dev/null || true
      find "$PGDATA" -mindepth 1 -delete
      echo 'the volume was emptied again' >&2
    }
    trap give_up EXIT
    trap 'exit 1' TERM INT
    if [ $# -gt 1 ]; then pg restore --type=time "--target=$2" --target-action=promote; else pg restore; fi
    # What Patroni wrote for the member that was copied: its paths, and for whom each commit waits. It writes anew for the next one.
    [ ! -f "$PGDATA/postgresql.base.conf" ] || mv "$PGDATA/postgresql.base.conf" "$PGDATA/postgresql.conf"
    # It is recovered here: whoever starts it next finds a database that takes writes. Until it does, it takes no connection at all.
    pg_ctl start --silent --wait --timeout=86400 --options="-c listen_addresses= -c hot_standby=off -c archive_mode=on -c archive_command='pgbackrest --stanza=film-store archive-push %p'" >&2
    until pg_isready --quiet; do
      pg_ctl status --silent || { echo 'the recovery failed' >&2; exit 1; }
      sleep 1
    done
    # The passwords of the folder, which may be newer than the backup.
    for service in catalog orders fulfilment; do
      url=$(cat "/run/secrets/${service}_db_url")
      user=${url#*://} user=${user%%@*}
      # By standard input: no process shows the password, which has letters and digits alone.
      psql --quiet --username=postgres --set ON_ERROR_STOP=1 <<SQL
\\set service '$service'
\\set name '${user%%:*}'
\\set password '${user#*:}'
select format('create role %I login', :'name') where not exists (select from pg_roles where rolname = :'name') \gexec
alter role :"name" login password :'password';
select format('grant %1\$I to %2\$I', :'service', :'name') where :'name' <> :'service' \gexec
select format('alter role %2\$I set role to %1\$I', :'service', :'name') where :'name' <> :'service' \gexec
SQL
    done
    # As whom the members of a cluster follow each other: a store without one has no such user.
    if [ -f /run/secrets/replication_password ]; then
      psql --quiet --username=postgres --set ON_ERROR_STOP=1 <<'SQL'
\set password `cat /run/secrets/replication_password`
select 'create role replicator' where not exists (select from pg_roles where rolname = 'replicator') \gexec
alter role replicator login replication password :'password';
SQL
    fi
    psql --username=postgres --no-align --tuples-only --command "select 'recovered; the last commit is of ' || coalesce(pg_last_xact_replay_timestamp()::text, 'the backup')"
    pg_ctl stop --silent --wait --mode=fast
    trap - EXIT
    ;;
  restore-consul)
    newest=$(find /backups/consul -name '*.enc' | sort | tail -n 1)
    [ -n "$newest" ] || { echo 'there is no snapshot of Consul' >&2; exit 1; }
    consul=${CONSUL_URL:-http://consul:8500}
    key -d -in "$newest" | ask <(as_consul) --upload-file - "$consul/v1/snapshot"
    # Who led the cluster that was lost, and how far it was, is not so of the one that is restored. Consul elects a leader after a snapshot.
    ask <(as_consul) --retry 30 --retry-all-errors --retry-delay 1 --request DELETE --output /dev/null "$consul/v1/kv/patroni/?recurse"
    ;;
  *) echo "backup: schedule, now [PART …], restore [TIME] or restore-consul, not $1" >&2; exit 2 ;;
esac
