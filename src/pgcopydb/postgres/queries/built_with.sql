-- Whether the server is built with ICU and with LZ4. From 16 on one collation of ICU is listed by every
-- build, but only one that has the library knows its version.
select
  exists (
    select from pg_catalog.pg_collation as o
    where o.collprovider = 'i' and o.collnamespace = 'pg_catalog'::regnamespace
      and pg_catalog.pg_collation_actual_version(o.oid) is not null
  ) as icu,
  exists (
    select from pg_catalog.pg_settings as s
    where s.name = 'default_toast_compression' and 'lz4' = any (s.enumvals)
  ) as lz4
