-- The columns of the same relations.
-- attstattarget is -1 for none up to 16 and null from 17 on; attcompression is there from 14 on;
-- regcollation from 13 on; newer minor versions stamp pg_attver on columns, which no statement can set.
-- From 17 on partitions have the identity columns of their table, of which nothing can make others.
with relation as materialized (
  select c.oid, c.relkind, c.relispartition, c.relowner, n.nspname, c.relname
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f')
    and c.relpersistence <> 't'
    and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
    and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
    and not exists (
      select from pg_catalog.pg_depend as e
      where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid and e.deptype = 'e'
    )
)
select
  'column' as kind,
  pg_catalog.format('%I.%I.%I', r.nspname, r.relname, a.attname) as identity,
  r.nspname::text as schema_name,
  r.relname::text as table_name,
  'pg_catalog.pg_class'::regclass::oid::bigint as catalog,
  r.oid::bigint as object,
  pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
  case when a.attcollation not in (0, t.typcollation) then (
    select pg_catalog.concat(nullif(pg_catalog.quote_ident(z.nspname), 'pg_catalog') || '.', pg_catalog.quote_ident(k.collname))
    from pg_catalog.pg_collation as k join pg_catalog.pg_namespace as z on z.oid = k.collnamespace
    where k.oid = a.attcollation
  ) end as collation,
  case when a.attnotnull then 'yes' else 'no' end as "not null",
  case
    when r.relispartition
      and pg_catalog.current_setting('server_version_num')::integer >= 170000 then null
    when a.attidentity = 'a' then 'always'
    when a.attidentity = 'd' then 'by default'
  end as identity_column,
  case a.attgenerated when 's' then 'stored' when 'v' then 'virtual' end as generated,
  pg_catalog.pg_get_expr(d.adbin, d.adrelid) as "default",
  case when a.attstorage <> t.typstorage then
    case a.attstorage when 'p' then 'plain' when 'e' then 'external' when 'x' then 'extended' else 'main' end
  end as storage,
  case when a.attlen = -1 and r.relkind in ('r', 'p', 'm') then
    case pg_catalog.to_jsonb(a) ->> 'attcompression' when 'p' then 'pglz' when 'l' then 'lz4' end
  end as compression,
  nullif(a.attstattarget, -1)::text as "statistics target",
  case when a.attoptions is not null then (
    select pg_catalog.string_agg(o, ', ' order by o collate "C")
    from pg_catalog.unnest(a.attoptions) as o where o !~ '^pg_attver='
  ) end as options,
  case when a.attfdwoptions is not null then (
    select pg_catalog.string_agg(o, ', ' order by o collate "C") from pg_catalog.unnest(a.attfdwoptions) as o
  ) end as "foreign options",
  case when a.attislocal then 'yes' else 'no' end as "defined here",
  a.attacl::text[] as acl,
  case when a.attacl is not null then array[]::text[] end as default_acl,
  pg_catalog.pg_get_userbyid(r.relowner)::text as acl_owner,
  pg_catalog.col_description(a.attrelid, a.attnum) as comment
from relation as r
join pg_catalog.pg_attribute as a on a.attrelid = r.oid
join pg_catalog.pg_type as t on t.oid = a.atttypid
left join pg_catalog.pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attnum > 0 and not a.attisdropped
