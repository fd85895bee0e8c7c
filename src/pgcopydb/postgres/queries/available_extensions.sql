-- The extensions that this database has or could have.
select
  a.name::text as name,
  a.default_version,
  a.installed_version,
  coalesce(pg_catalog.array_agg(v.version order by v.version), array[]::text[]) as versions,
  r.rolsuper or coalesce(pg_catalog.bool_or(
    not v.superuser
    or coalesce((pg_catalog.to_jsonb(v) ->> 'trusted')::boolean, false)
  ) filter (where v.version = a.default_version), false) as creatable,
  exists (
    select from pg_catalog.pg_extension as e
    where e.extname = a.name and pg_catalog.pg_has_role(e.extowner, 'usage')
  ) as owned
from pg_catalog.pg_available_extensions as a
join pg_catalog.pg_roles as r on r.rolname = current_user
left join pg_catalog.pg_available_extension_versions as v on v.name = a.name
group by a.name, a.default_version, a.installed_version, r.rolsuper
order by a.name
