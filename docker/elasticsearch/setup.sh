#!/bin/bash
# Once at each start: users, lifetimes and templates before the first line, then what Kibana shows. What is there is replaced.
set -euo pipefail
secret() { cat "/run/secrets/$1"; }
as_elastic() { printf 'user = "elastic:%s"\n' "$(secret elastic_password)"; }
ask() { curl --config <(as_elastic) --fail-with-body --silent --show-error --max-time 30 --header 'content-type: application/json' "$@"; echo; }
server=http://elasticsearch:9200

for stream in logs audit; do
  ask --request PUT "$server/_ilm/policy/film-store-$stream" --data "@/setup/film-store-$stream.policy.json"
  ask --request PUT "$server/_index_template/film-store-$stream" --data "@/setup/film-store-$stream.template.json"
done
# Logstash may add to these streams, and do nothing else.
ask --request PUT "$server/_security/role/film-store-writer" --data '{
  "cluster": ["monitor"],
  "indices": [{ "names": ["logs-film_store.*"], "privileges": ["auto_configure", "create_doc", "view_index_metadata"] }]
}'
ask --request PUT "$server/_security/user/film-store-logstash" --data @- <<< "{ \"password\": \"$(secret logstash_password)\", \"roles\": [\"film-store-writer\"] }"
# Grafana may read them.
ask --request PUT "$server/_security/role/film-store-reader" --data '{
  "cluster": ["monitor"],
  "indices": [{ "names": ["logs-film_store.*"], "privileges": ["read", "view_index_metadata"] }]
}'
ask --request PUT "$server/_security/user/film-store-grafana" --data @- <<< "{ \"password\": \"$(secret grafana_elastic_password)\", \"roles\": [\"film-store-reader\"] }"
ask --request POST "$server/_security/user/kibana_system/_password" --data @- <<< "{ \"password\": \"$(secret kibana_password)\" }"
until curl --fail --silent --max-time 5 --output /dev/null http://kibana:5601/api/status; do sleep 2; done
curl --config <(as_elastic) --fail-with-body --silent --show-error --max-time 60 --header 'kbn-xsrf: setup' \
  --form 'file=@/setup/kibana.ndjson' 'http://kibana:5601/api/saved_objects/_import?overwrite=true'
