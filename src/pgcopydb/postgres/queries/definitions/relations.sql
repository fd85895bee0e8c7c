-- Tables, partitioned tables, foreign tables, views and materialised views, without their columns.
select
  case c.relkind
    when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table'
    else 'table'
  end as kind,
  pg_catalog.format('%I.%I', n.nspname, c.relname) as identity,
  n.nspname::text as schema_name,
  c.relname::text as table_name,
  'pg_catalog.pg_class'::regclass::oid::bigint as catalog,
  c.oid::bigint as object,
  pg_catalog.pg_get_userbyid(c.relowner)::text as owner,
  c.relacl::text[] as acl,
  case when c.relacl is not null then pg_catalog.acldefault('r', c.relowner) end::text[] as default_acl,
  (
    select pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' order by a.attnum)
    from pg_catalog.pg_attribute as a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  ) as "order of columns",
  case when c.relkind in ('v', 'm') then pg_catalog.pg_get_viewdef(c.oid) end as definition,
  case when c.relkind = 'm' then case when c.relispopulated then 'yes' else 'no' end end as populated,
  case c.relpersistence when 'u' then 'unlogged' else 'logged' end as persistence,
  nullif(m.amname, 'heap')::text as "access method",
  s.spcname::text as tablespace,
  (
    select pg_catalog.string_agg(o, ', ' order by o collate "C") from pg_catalog.unnest(c.reloptions) as o
  ) as options,
  (
    select pg_catalog.string_agg(o, ', ' order by o collate "C")
    from pg_catalog.pg_class as t, pg_catalog.unnest(t.reloptions) as o where t.oid = c.reltoastrelid
  ) as "options of its TOAST table",
  case c.relreplident when 'n' then 'nothing' when 'f' then 'full' when 'i' then 'index' else 'default' end as "replica identity",
  case when c.relrowsecurity then 'enabled' else 'disabled' end as "row security",
  case when c.relforcerowsecurity then 'forced' else 'not forced' end as "row security for the owner",
  pg_catalog.pg_get_partkeydef(c.oid) as "partitioned by",
  pg_catalog.pg_get_expr(c.relpartbound, c.oid) as "partition bound",
  (
    select pg_catalog.string_agg(
      i.inhparent::regclass::text
        || case when pg_catalog.to_jsonb(i) ->> 'inhdetachpending' = 'true' then ' (being detached)' else '' end,
      ', ' order by i.inhseqno
    )
    from pg_catalog.pg_inherits as i where i.inhrelid = c.oid
  ) as parents,
  nullif(c.reloftype, 0)::regtype::text as "of type",
  (
    select pg_catalog.concat_ws(
      ': ', pg_catalog.quote_ident(fs.srvname),
      (select pg_catalog.string_agg(o, ', ' order by o collate "C") from pg_catalog.unnest(f.ftoptions) as o)
    )
    from pg_catalog.pg_foreign_table as f join pg_catalog.pg_foreign_server as fs on fs.oid = f.ftserver
    where f.ftrelid = c.oid
  ) as "foreign server",
  pg_catalog.obj_description(c.oid, 'pg_class') as comment
from pg_catalog.pg_class as c
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
left join pg_catalog.pg_am as m on m.oid = c.relam
left join pg_catalog.pg_tablespace as s on s.oid = c.reltablespace
where c.relkind in ('r', 'p', 'v', 'm', 'f')
  and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid and e.deptype = 'e'
  )
