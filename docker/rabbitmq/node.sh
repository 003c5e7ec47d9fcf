#!/bin/bash
# The nodes know each other by a cookie that nobody else may read.
set -euo pipefail
cookie=/var/lib/rabbitmq/.erlang.cookie
rm -f "$cookie"
install --mode=400 /run/secrets/erlang_cookie "$cookie"
exec docker-entrypoint.sh rabbitmq-server
