#!/bin/bash
# Writes Patroni's configuration, with the passwords, into memory and becomes Patroni. As `patroni-node databases` it is what Patroni runs once on the
# first leader of a new store.
set -euo pipefail
secret() { cat "/run/secrets/$1"; }
if [ "${1:-}" = databases ]; then
  export POSTGRES_USER=postgres
  for script in /docker-entrypoint-initdb.d/*.sh; do sh "$script"; done
  exit
fi
umask 077
# A volume gets the mode of the image's folder, which PostgreSQL refuses.
chmod 700 "$PGDATA"
cat > /tmp/patroni.yml <<CONFIG
scope: film-store
namespace: /patroni/
name: $HOSTNAME
restapi: { listen: '0.0.0.0:8008', connect_address: '$HOSTNAME:8008' }
consul: { url: 'http://consul:8500', token: '$(secret patroni_consul_token)' }
bootstrap:
  dcs:
    # A leader that is gone is replaced after ttl at most; Consul knows no shorter session.
    ttl: 20
    loop_wait: 5
    retry_timeout: 5
    # What was acknowledged is on two servers: the one that takes over has it.
    synchronous_mode: true
    # While Consul is away the leader goes on, as long as it reaches all others.
    failsafe_mode: true
    postgresql:
      use_pg_rewind: true
      parameters:
        max_connections: 150
        shared_buffers: 96MB
        idle_in_transaction_session_timeout: 60s
        wal_log_hints: 'on'
        archive_mode: 'on'
        archive_timeout: 60s
        archive_command: pgbackrest --stanza=film-store archive-push %p
  initdb: [{ encoding: UTF8 }, { auth-host: scram-sha-256 }, { auth-local: peer }, data-checksums]
  post_init: /usr/local/bin/patroni-node databases
postgresql:
  listen: '0.0.0.0:5432'
  connect_address: '$HOSTNAME:5432'
  data_dir: $PGDATA
  bin_dir: /usr/lib/postgresql/17/bin
  pgpass: /tmp/pgpass
  use_unix_socket: true
  # A replica is copied at once, not at the pace of a checkpoint.
  basebackup: [{ checkpoint: fast }]
  parameters: { unix_socket_directories: /var/run/postgresql }
  authentication:
    superuser: { username: postgres, password: '$(secret postgres_password)' }
    replication: { username: replicator, password: '$(secret replication_password)' }
  pg_hba:
    - local all all peer
    - host replication replicator all scram-sha-256
    - host all all all scram-sha-256
CONFIG
exec patroni /tmp/patroni.yml
