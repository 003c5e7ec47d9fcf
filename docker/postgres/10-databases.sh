#!/bin/sh
# Runs once, on an empty volume: a database and a user for each service, and none reads another's.
set -eu
for service in catalog orders fulfilment; do
  # psql reads the password itself: no process shows it.
  psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres --set name="$service" <<SQL
\\set password \`cat /run/secrets/${service}_db_password\`
create role :"name" login password :'password' connection limit 60;
create database :"name" owner :"name";
revoke all on database :"name" from public;
SQL
done
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres --command 'revoke all on database postgres, template1 from public'
