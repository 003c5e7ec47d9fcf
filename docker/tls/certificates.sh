#!/bin/bash
# An authority of the store's own, and from it a certificate for each part: with its key in one file, which is replaced as a whole.
#   schedule   those that are missing or past two thirds of their time, once an hour
#   renew      all, now
#   record     when each ends, for the watch
set -euo pipefail
umask 022
days=${CERTIFICATE_DAYS:-30}
# Each part, and the names by which others know it.
parts=(
  'postgres postgres'
  'redis redis'
  'rabbitmq rabbitmq'
  'consul consul'
  'catalog-api catalog-api catalog-api-1 catalog-api-2'
  'orders-api orders-api orders-api-1 orders-api-2'
  'fulfilment-worker fulfilment-worker'
  'identity-api identity-api'
  "gateway gateway ${CERTIFICATE_NAMES:-}"
)
new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

authority() {
  [ ! -s /tls/authority/key.pem ] || return 0
  openssl req -x509 "${new_key[@]}" -days 3650 -subj '/CN=film store' -addext 'basicConstraints=critical,CA:TRUE,pathlen:0' \
    -addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout "$work/key.pem" -out "$work/ca.pem" 2> /dev/null
  cp "$work/ca.pem" /tls/trusted/ca.pem
  install --mode=600 "$work/key.pem" /tls/authority/key.pem
}

issue() {
  local part=$1 name
  shift
  {
    printf 'extendedKeyUsage=serverAuth\nkeyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost'
    for name in "$@"; do printf ',DNS:%s' "$name"; done
  } > "$work/extensions"
  openssl req -new "${new_key[@]}" -subj "/CN=$part" -keyout "$work/key.pem" -out "$work/request.pem" 2> /dev/null
  openssl x509 -req -in "$work/request.pem" -CA /tls/trusted/ca.pem -CAkey /tls/authority/key.pem -days "$days" -extfile "$work/extensions" \
    -out "$work/certificate.pem" 2> /dev/null
  cat "$work/certificate.pem" "$work/key.pem" > "/tls/$part/certificate.new"
  # The containers' users differ from the owner; it is the folder above that keeps others out.
  chmod 444 "/tls/$part/certificate.new"
  mv "/tls/$part/certificate.new" "/tls/$part/certificate.pem"
  echo "$part: until $(openssl x509 -noout -enddate -in "/tls/$part/certificate.pem" | cut -d = -f 2)"
}

# When each ends, for node-exporter.
record() {
  local line part
  {
    echo '# HELP film_store_certificate_expires_timestamp_seconds When the certificate of a part ends.'
    echo '# TYPE film_store_certificate_expires_timestamp_seconds gauge'
    for line in "${parts[@]}"; do
      part=${line%% *}
      echo "film_store_certificate_expires_timestamp_seconds{part=\"$part\"} $(date -d "$(openssl x509 -noout -enddate -in "/tls/$part/certificate.pem" | cut -d = -f 2)" +%s)"
    done
  } > /tls/metrics/certificates.tmp
  mv /tls/metrics/certificates.tmp /tls/metrics/certificates.prom
}

# Of all, or of those for which the function says so.
issue_where() {
  local line names
  authority
  for line in "${parts[@]}"; do
    read -ra names <<< "$line"
    if "$1" "${names[0]}"; then issue "${names[@]}"; fi
  done
  record
}
due() { ! openssl x509 -noout -checkend $((days * 86400 / 3)) -in "/tls/$1/certificate.pem" > /dev/null 2>&1; }

case $1 in
  renew) issue_where true ;;
  record) record ;;
  schedule)
    trap 'exit 0' TERM INT
    # The healthcheck looks for a record that is newer than this.
    touch /tmp/started
    while :; do
      issue_where due
      sleep 3600 & wait $!
    done
    ;;
  *) echo "certificates: schedule, renew or record, not $1" >&2; exit 2 ;;
esac
