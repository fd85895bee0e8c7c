-- Publications before there were schemas, row filters and column lists.
select
  'publication' as kind,
  pg_catalog.quote_ident(p.pubname) as identity,
  null::text as schema_name,
  null::text as table_name,
  p.pubname::text as publication_name,
  pg_catalog.pg_get_userbyid(p.pubowner)::text as owner,
  case when p.puballtables then 'yes' else 'no' end as "all tables",
  pg_catalog.concat_ws(
    ', ', case when p.pubinsert then 'insert' end, case when p.pubupdate then 'update' end,
    case when p.pubdelete then 'delete' end, case when p.pubtruncate then 'truncate' end
  ) as publishes,
  case when pg_catalog.to_jsonb(p) ->> 'pubviaroot' = 'true' then 'yes' else 'no' end as "via partition root",
  null::text as "generated columns",
  (
    select pg_catalog.string_agg(r.prrelid::regclass::text, ', ' order by r.prrelid::regclass::text collate "C")
    from pg_catalog.pg_publication_rel as r where r.prpubid = p.oid
  ) as tables,
  null::text as schemas,
  pg_catalog.obj_description(p.oid, 'pg_publication') as comment
from pg_catalog.pg_publication as p
