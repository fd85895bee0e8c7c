-- Every database of the server. Columns that not every version has are read by name.
select
  d.oid,
  d.datname::text as name,
  pg_catalog.pg_get_userbyid(d.datdba)::text as owner,
  pg_catalog.pg_encoding_to_char(d.encoding)::text as encoding,
  coalesce(j.row ->> 'datlocprovider', 'c') as provider,
  d.datcollate::text as collation,
  d.datctype::text as ctype,
  coalesce(j.row ->> 'datlocale', j.row ->> 'daticulocale') as locale,
  t.spcname::text as tablespace,
  d.datistemplate as is_template,
  d.datallowconn as allows_connections,
  d.datconnlimit as connection_limit,
  case
    when pg_catalog.has_database_privilege(d.oid, 'connect')
      or pg_catalog.pg_has_role('pg_read_all_stats', 'usage')
    then pg_catalog.pg_database_size(d.oid)
  end as bytes
from pg_catalog.pg_database as d
join pg_catalog.pg_tablespace as t on t.oid = d.dattablespace
cross join lateral (select pg_catalog.to_jsonb(d) as row) as j
order by d.datname
