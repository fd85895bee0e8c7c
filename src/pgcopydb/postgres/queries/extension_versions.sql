-- Every version of every extension that the server's files offer. Before 13 nothing is trusted.
select
  v.name::text as name,
  v.version,
  v.version = a.default_version as is_default,
  v.installed as is_installed,
  v.superuser,
  coalesce((pg_catalog.to_jsonb(v) ->> 'trusted')::boolean, false) as trusted,
  v.relocatable as is_relocatable,
  v.schema::text as schema,
  coalesce(v.requires::text[], array[]::text[]) as requires
from pg_catalog.pg_available_extension_versions as v
join pg_catalog.pg_available_extensions as a on a.name = v.name
order by v.name, v.version
