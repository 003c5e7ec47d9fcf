import type { Connection } from '../connection.ts'
import type { Tables } from './history.ts'

/** Indexes that are there but not in use: CREATE INDEX CONCURRENTLY failed. A unique one of these accepts duplicates. */
export interface InvalidIndex {
  readonly index: string
  readonly name: string
  readonly table: string
}

export async function invalidIndexes(connection: Connection): Promise<readonly InvalidIndex[]> {
  const { rows } = await connection.query<InvalidIndex & Record<string, unknown>>(
    `select pg_catalog.format('%I.%I', n.nspname, c.relname) as index, c.relname::text as name, t.relname::text as "table"
     from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       join pg_catalog.pg_class t on t.oid = i.indrelid
     where not i.indisvalid and c.relkind = 'i' and n.nspname !~ '^pg_'
       and not exists (select from pg_catalog.pg_stat_progress_create_index p where p.index_relid = i.indexrelid)
     order by 1`,
  )
  return rows
}

const own = "('platform_migrations', 'platform_seeds', 'platform_schema_objects')"
/** What a schema is made of, one line a thing. What belongs to an extension is the extension's affair. */
const objects = `
  with spaces as (select oid, nspname from pg_catalog.pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'),
    extended as (select classid, objid from pg_catalog.pg_depend where deptype = 'e')
  select pg_catalog.format('%s %I.%I', case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence' when 'i' then 'index' when 'I' then 'index' else 'table' end, s.nspname, c.relname) as object,
    case when c.relkind in ('v', 'm') then pg_catalog.pg_get_viewdef(c.oid)
      when c.relkind in ('i', 'I') then pg_catalog.pg_get_indexdef(c.oid)
      else coalesce((select pg_catalog.string_agg(pg_catalog.format('%I %s%s%s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), case when a.attnotnull then ' not null' else '' end,
        coalesce(' default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), '')), ', ' order by a.attname)
        from pg_catalog.pg_attribute a left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '') end as definition
  from pg_catalog.pg_class c join spaces s on s.oid = c.relnamespace
    left join pg_catalog.pg_index i on i.indexrelid = c.oid
  where c.relkind in ('r', 'p', 'v', 'm', 'S', 'i', 'I', 'f') and c.relname not in ${own}
    and not exists (select from pg_catalog.pg_class t where t.oid = i.indrelid and t.relname in ${own})
    and not exists (select from extended e where e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and e.objid = c.oid)
  union all
  select pg_catalog.format('constraint %I on %s', k.conname, k.conrelid::pg_catalog.regclass), pg_catalog.pg_get_constraintdef(k.oid)
  from pg_catalog.pg_constraint k join spaces s on s.oid = k.connamespace join pg_catalog.pg_class t on t.oid = k.conrelid
  where t.relname not in ${own} and k.contype <> 'n'
  union all
  select pg_catalog.format('function %I.%I(%s)', s.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)), coalesce(pg_catalog.md5(p.prosrc), '')
  from pg_catalog.pg_proc p join spaces s on s.oid = p.pronamespace
  where not exists (select from extended e where e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and e.objid = p.oid)
  union all
  select pg_catalog.format('trigger %I on %s', g.tgname, g.tgrelid::pg_catalog.regclass), pg_catalog.pg_get_triggerdef(g.oid)
  from pg_catalog.pg_trigger g join pg_catalog.pg_class t on t.oid = g.tgrelid join spaces s on s.oid = t.relnamespace where not g.tgisinternal`

/** Remembers what the schema is made of, so that a later check can tell what was changed by hand. */
export async function rememberObjects(connection: Connection, tables: Tables): Promise<void> {
  await connection.query(
    `begin; truncate ${tables.objects}; insert into ${tables.objects} (object, definition) select distinct on (1) * from (${objects}) o order by 1; commit`,
  )
}

/** What differs from what was remembered, in words. */
export async function drift(connection: Connection, tables: Tables): Promise<readonly string[]> {
  const { rows } = await connection.query<{ object: string; kind: string }>(
    `select coalesce(r.object, o.object) as object, case when r.object is null then 'added' when o.object is null then 'removed' else 'changed' end as kind
     from ${tables.objects} r full join (select distinct on (1) * from (${objects}) x order by 1) o on o.object = r.object
     where r.definition is distinct from o.definition order by 1`,
  )
  return rows.map(({ object, kind }) => `${object} was ${kind} outside of the migrations`)
}
