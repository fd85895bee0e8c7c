-- Every table, partitioned table, materialised view and foreign table that belongs to users.
-- Sizes are taken from the catalogue where %(estimated)s and VACUUM or ANALYZE has left some there,
-- and from nowhere without %(sized)s: to measure a table opens it.
select
  c.oid,
  n.nspname::text as schema,
  c.relname::text as name,
  c.relkind::text as kind,
  c.relpersistence::text as persistence,
  a.amname::text as access_method,
  t.spcname::text as tablespace,
  pg_catalog.pg_get_userbyid(c.relowner)::text as owner,
  c.relfilenode::bigint as filenode,
  c.reltuples::bigint as row_estimate,
  case
    when not %(sized)s then 0
    when %(estimated)s and c.relpages > 0
      then (c.relpages + coalesce(o.relpages, 0)) * pg_catalog.current_setting('block_size')::bigint
    else coalesce(pg_catalog.pg_table_size(c.oid), 0)
  end as bytes,
  case
    when not %(sized)s or c.relkind not in ('r', 'm') then 0
    when %(estimated)s and c.relpages > 0 then c.relpages
    else coalesce(pg_catalog.pg_relation_size(c.oid), 0)
      / pg_catalog.current_setting('block_size')::bigint
  end as pages,
  c.relispartition as is_partition,
  coalesce((
    select pg_catalog.array_agg(i.inhparent::bigint order by i.inhseqno)
    from pg_catalog.pg_inherits as i where i.inhrelid = c.oid
  ), array[]::bigint[]) as parent_oids,
  coalesce(pk.names, array[]::text[]) as key_columns,
  c.relreplident::text as replica_identity,
  coalesce(
    case c.relreplident when 'd' then pk.names when 'i' then ri.names end, array[]::text[]
  ) as identity_columns,
  pg_catalog.row_security_active(c.oid) as row_security_applies,
  pg_catalog.has_schema_privilege(n.oid, 'usage')
    and pg_catalog.has_table_privilege(c.oid, 'select') as readable,
  c.relispopulated as populated
from pg_catalog.pg_class as c
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
left join pg_catalog.pg_am as a on a.oid = c.relam
left join pg_catalog.pg_tablespace as t on t.oid = c.reltablespace
left join pg_catalog.pg_class as o on o.oid = c.reltoastrelid
left join lateral (
  select pg_catalog.array_agg(k.attname::text order by u.ordinality) as names
  from pg_catalog.pg_index as i,
    pg_catalog.unnest(i.indkey::smallint[]) with ordinality as u (number, ordinality),
    pg_catalog.pg_attribute as k
  where i.indrelid = c.oid and i.indisprimary and i.indimmediate and i.indisvalid
    and u.ordinality <= i.indnkeyatts and k.attrelid = c.oid and k.attnum = u.number
) as pk on true
left join lateral (
  select pg_catalog.array_agg(k.attname::text order by u.ordinality) as names
  from pg_catalog.pg_index as i,
    pg_catalog.unnest(i.indkey::smallint[]) with ordinality as u (number, ordinality),
    pg_catalog.pg_attribute as k
  where i.indrelid = c.oid and i.indisreplident and i.indimmediate and i.indisvalid
    and u.ordinality <= i.indnkeyatts and k.attrelid = c.oid and k.attnum = u.number
) as ri on true
where c.relkind in ('r', 'p', 'm', 'f')
  and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid and e.deptype = 'e'
  )
order by n.nspname, c.relname
