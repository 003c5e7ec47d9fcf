#!/bin/sh
# Becomes a server that is told of each new certificate: follow.sh COMMAND SERVER …
# It reads a copy of its own: PostgreSQL takes no key that others may read.
set -eu
tell=$1
shift
copy() (
  umask 077
  cat /certificates/certificate.pem > /tmp/certificate.new
  mv /tmp/certificate.new /tmp/certificate.pem
)
copy
while sleep 5; do
  cmp -s /certificates/certificate.pem /tmp/certificate.pem || { copy && sh -c "$tell"; } || echo 'the new certificate was not taken over' >&2
done &
exec "$@"
