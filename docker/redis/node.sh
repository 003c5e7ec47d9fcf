#!/bin/sh
# A Redis of the profile `ha`: follows whoever the sentinels say leads. Before they know anybody, the first of them leads.
set -eu
export REDISCLI_AUTH=$(cat /run/secrets/redis_password)
leader=''
for sentinel in sentinel-1 sentinel-2 sentinel-3; do
  leader=$(timeout 2 redis-cli -h "$sentinel" -p 26379 sentinel get-master-addr-by-name film-store 2> /dev/null | head -n 1) || leader=''
  [ -z "$leader" ] || break
done
[ -n "$leader" ] || leader=redis
set -- redis-server /etc/redis/redis.conf --replica-announce-ip "$HOSTNAME" --masterauth "$REDISCLI_AUTH"
[ "$leader" = "$HOSTNAME" ] || set -- "$@" --replicaof "$leader 6379"
unset REDISCLI_AUTH
exec "$@"
