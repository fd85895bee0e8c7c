-- The database itself, whatever it is called: owner and tablespace are those that it was made with.
select
  'database' as kind,
  'properties' as identity,
  null::text as schema_name,
  null::text as table_name,
  pg_catalog.pg_encoding_to_char(d.encoding)::text as encoding,
  pg_catalog.pg_get_userbyid(d.datdba)::text as owner,
  t.spcname::text as tablespace,
  nullif(d.datconnlimit, -1)::text as "connection limit",
  (
    select pg_catalog.string_agg(o.setting, ', ' order by o.setting collate "C")
    from pg_catalog.pg_db_role_setting as s, pg_catalog.unnest(s.setconfig) as o (setting)
    where s.setdatabase = d.oid and s.setrole = 0
  ) as settings,
  (
    select pg_catalog.string_agg(
      pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(s.setrole)) || ': ' || o.setting,
      ', ' order by pg_catalog.pg_get_userbyid(s.setrole)::text collate "C", o.setting collate "C"
    )
    from pg_catalog.pg_db_role_setting as s, pg_catalog.unnest(s.setconfig) as o (setting)
    where s.setdatabase = d.oid and s.setrole <> 0
  ) as "settings of roles"
from pg_catalog.pg_database as d
join pg_catalog.pg_tablespace as t on t.oid = d.dattablespace
where d.datname = pg_catalog.current_database()
