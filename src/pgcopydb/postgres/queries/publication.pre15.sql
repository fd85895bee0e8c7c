-- A publication of a server before 15, which has no row filters, column lists or schemas.
select
  p.puballtables,
  pg_catalog.concat_ws(
    ', ',
    case when p.pubinsert then 'insert' end,
    case when p.pubupdate then 'update' end,
    case when p.pubdelete then 'delete' end,
    case when p.pubtruncate then 'truncate' end
  ),
  coalesce((pg_catalog.to_jsonb(p) ->> 'pubviaroot')::boolean, false),
  false,
  coalesce((
    select pg_catalog.json_agg(pg_catalog.json_build_array(n.nspname, c.relname))
    from pg_catalog.pg_publication_rel as r
    join pg_catalog.pg_class as c on c.oid = r.prrelid
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where r.prpubid = p.oid
  ), '[]')
from pg_catalog.pg_publication as p
where p.pubname = %(name)s
