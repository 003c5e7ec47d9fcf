#!/bin/sh
# Gives each service that asks Consul, and Prometheus, a token of its own, which may do what its policy file says and nothing else. Runs at each start: a policy
# that was changed is stored again, a token that is there stays.
set -eu
export CONSUL_HTTP_ADDR=${CONSUL_HTTP_ADDR:-http://consul:8500}
for service in catalog orders gateway metrics patroni; do
  if consul acl policy read -name "$service" > /dev/null 2>&1; then how=update; else how=create; fi
  consul acl policy "$how" -name "$service" -rules "@/etc/film-store/$service.hcl" > /dev/null
  token=$(cat "/run/secrets/${service}_consul_token")
  CONSUL_HTTP_TOKEN_FILE='' CONSUL_HTTP_TOKEN="$token" consul acl token read -self > /dev/null 2>&1 ||
    consul acl token create -description "$service" -policy-name "$service" -secret "$token" > /dev/null
done
