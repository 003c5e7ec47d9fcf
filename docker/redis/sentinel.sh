#!/bin/sh
# A sentinel writes what it learns into its configuration: into memory, from which it is made anew at each start.
set -eu
umask 077
password=$(cat /run/secrets/redis_password)
cat > /tmp/sentinel.conf <<CONFIG
port 26379
dir /tmp
requirepass $password
sentinel sentinel-pass $password
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $HOSTNAME
sentinel monitor film-store redis 6379 2
sentinel auth-pass film-store $password
sentinel down-after-milliseconds film-store 3000
sentinel failover-timeout film-store 10000
CONFIG
exec redis-server /tmp/sentinel.conf --sentinel
