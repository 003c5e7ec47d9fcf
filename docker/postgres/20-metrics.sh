#!/bin/sh
# A user who sees statistics and nothing else. On a volume from before it: infra compose exec postgres sh /docker-entrypoint-initdb.d/20-metrics.sh
set -eu
psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\set password `cat /run/secrets/metrics_db_password`
create role metrics login password :'password' connection limit 5 in role pg_monitor;
grant connect on database postgres to metrics;
SQL
