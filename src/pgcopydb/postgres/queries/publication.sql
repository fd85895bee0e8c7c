-- A publication: its actions, whether anything narrows or widens it, and its tables by name.
select
  p.puballtables,
  pg_catalog.concat_ws(
    ', ',
    case when p.pubinsert then 'insert' end,
    case when p.pubupdate then 'update' end,
    case when p.pubdelete then 'delete' end,
    case when p.pubtruncate then 'truncate' end
  ),
  p.pubviaroot,
  exists (select from pg_catalog.pg_publication_namespace as s where s.pnpubid = p.oid)
    or exists (
      select from pg_catalog.pg_publication_rel as r
      where r.prpubid = p.oid and (r.prqual is not null or r.prattrs is not null)
    ),
  coalesce((
    select pg_catalog.json_agg(pg_catalog.json_build_array(n.nspname, c.relname))
    from pg_catalog.pg_publication_rel as r
    join pg_catalog.pg_class as c on c.oid = r.prrelid
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where r.prpubid = p.oid
  ), '[]')
from pg_catalog.pg_publication as p
where p.pubname = %(name)s
