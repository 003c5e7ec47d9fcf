export const usage = `Usage: pnpm infra <command>
  up                  checks the machine, draws passwords at the first time, builds the images, starts, waits until all is well
     --no-build       with the images that are there
     --inspect        databases and probes are published on 127.0.0.1 as well
     --ha             no server is alone: two PostgreSQL, three of RabbitMQ and Consul, two Redis with three sentinels
     --tls            all parts speak TLS with each other, and the gateway with customers; not together with --ha
     --logs           with Elasticsearch, Logstash, Filebeat, Kibana (port 5601) and Jaeger (16686): 3 GB more; not run yet
     --metrics        with what watches it: Prometheus and Alertmanager on 127.0.0.1, ports 9090 and 9093
     --grafana        and with the dashboard, port 3000
                      A store that runs stays --ha, --tls and --logs, and every command knows what it is; \`down\` comes before being less.
  build               the images alone
  down                ends it; the data stays
     --volumes        the data and the passwords go, too
  status              what runs and how it is
  logs [service …]    what they write, following
  compose …           docker compose with the files and the name of the store: compose exec postgres psql -U postgres
  ask <instance> [METHOD] <path>   what an instance answers at its admin listener: ask orders-api-1 /ready
  doctor              what stands in the way, and the command that mends it; with the switches of up
  rollout <service>   replaces its instances one by one, each new one beside the old; goes back by itself when a new one does not do
     --image IMAGE    with this image in place of one that is built now
  backup              one now, beside the one of each day: databases, definitions of RabbitMQ, what Consul holds
  restore             fills empty volumes from the backups in FILM_STORE_BACKUPS with the passwords of the store that was lost, and starts it
     --ha             into a store in which no server is alone, whatever the lost one was
     --to TIME        as it was then, such as '2026-01-31 12:00:00+00'; otherwise all that was archived
  rotate              every service gets its other user with a new password in PostgreSQL and RabbitMQ, and is replaced under load;
                      with --tls certificates are renewed as well. For a timer
  certificates        all anew, now, of a store with --tls; each part takes its own over within ten seconds
  rehearse-tls        a store of its own with --tls: certificates are renewed under load, plain connections refused, the books compared
  failover            a store of its own with --ha: kills each leader under load, sees orders flow again, compares the books
  drill               a store of its own trades and is destroyed; another is restored from its backups, and the books are compared
  deploy              to the swarm that docker talks to (DOCKER_HOST): servers, migrations, then the services; goes back by itself
     --version TAG    of the images; --registry PREFIX: where they come from; --stack NAME (that of the store)
     --gateway TAG    of the gateway, where it stays what it was; otherwise it is replaced as well, which is a gap of some seconds on its node
  push                builds our images and pushes them to --registry under --version, with provenance and the list of their parts
     --plain          without both, by the engine's own builder
  rehearse-stack      the same on a swarm of this machine alone, under load, with a release that does not start
  slo                 what became of the objectives in the last 30 days, as Prometheus has it
  rehearse [alert …]  stores of its own whose alerts run sixty times as fast: breaks them, sees each alert fire, find its receiver, resolve;
                      all of them, or those that are named
  dev                 up, then carries every edit of a source into the containers and restarts what uses it
FILM_STORE_ADDRESS (127.0.0.1) and FILM_STORE_PORT (8080) are where the gateway listens; COMPOSE_PROJECT_NAME (film-store) lets two stores live side by side.
Settings stand in the environment or in docker/.env; docs/operations/compose.md lists them.`
