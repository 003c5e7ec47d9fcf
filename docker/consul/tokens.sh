#!/bin/sh
# Gives each service that asks Consul, and Prometheus, a token of its own, which may do what its policy file says and nothing else. Runs at each start: a policy
# that was changed is stored again, a token that is there stays.
set -eu
umask 077
# A Consul that loses its leader says no to everybody until there is another.
if [ "${1:-}" != once ]; then
  for attempt in 1 2 3 4 5 6 7 8 9; do
    ! sh "$0" once || exit 0
    sleep 2
  done
fi
export CONSUL_HTTP_ADDR=${CONSUL_HTTP_ADDR:-http://consul:8500}
for service in catalog orders gateway metrics patroni; do
  if consul acl policy read -name "$service" > /dev/null 2>&1; then how=update; else how=create; fi
  consul acl policy "$how" -name "$service" -rules "@/etc/film-store/$service.hcl" > /dev/null
  token=$(cat "/run/secrets/${service}_consul_token")
  CONSUL_HTTP_TOKEN_FILE='' CONSUL_HTTP_TOKEN="$token" consul acl token read -self > /dev/null 2>&1 || {
    # As a request: the command would show the token to whoever lists processes.
    printf '{"SecretID":"%s","Description":"%s","Policies":[{"Name":"%s"}]}' "$token" "$service" "$service" > /tmp/token.json
    printf 'X-Consul-Token: %s' "$(cat "$CONSUL_HTTP_TOKEN_FILE")" > /tmp/header
    curl --fail --silent --show-error --output /dev/null ${CONSUL_CACERT:+--cacert "$CONSUL_CACERT"} \
      --request PUT --header @/tmp/header --data @/tmp/token.json "$CONSUL_HTTP_ADDR/v1/acl/token"
  }
done
