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
umask 077
# Into memory: a process shows its arguments, and the sentinels have changes of leader written down here.
{
  printf 'include /etc/redis/redis.conf\nreplica-announce-ip %s\nmasterauth %s\n' "$HOSTNAME" "$REDISCLI_AUTH"
  [ "$leader" = "$HOSTNAME" ] || printf 'replicaof %s 6379\n' "$leader"
} > /tmp/redis.conf
unset REDISCLI_AUTH
exec redis-server /tmp/redis.conf
