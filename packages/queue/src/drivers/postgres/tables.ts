/** What the driver keeps beside pg-boss' tables, and the one of these that it reads. */
export interface Tables {
  /** Which queues a destination fans out to. What is `-infinity` in `lease_until` is being removed. */
  readonly subscription: string
  /** Who is there. */
  readonly member: string
  readonly job: string
}

export function tablesOf(schema: string): Tables {
  return { subscription: `${schema}.platform_subscription`, member: `${schema}.platform_member`, job: `${schema}.job` }
}

export function queueName(destination: string, group: string): string {
  return `${destination}/${group}`
}

/** One statement, so that it is one implicit transaction that also holds the lock. A table is changed only where a column is missing. */
export function makeTables(schema: string): string {
  const { subscription, member } = tablesOf(schema)
  return `
    do $$ begin
      perform pg_advisory_xact_lock(hashtext('${subscription}'));
      create table if not exists ${subscription} (
        destination text not null,
        group_name text not null,
        queue text not null unique,
        ordered boolean not null,
        lease_until timestamptz,
        primary key (destination, group_name)
      );
      if not exists (select from pg_attribute where attrelid = '${subscription}'::regclass and attname = 'absent_ms') then
        alter table ${subscription}
          add column expires_after_ms bigint,
          add column absent_ms bigint not null default 0,
          add column looked_at timestamptz not null default now();
      end if;
      create table if not exists ${member} (
        queue text not null,
        member uuid not null,
        seen_at timestamptz not null default now(),
        primary key (queue, member)
      );
    end $$`
}
