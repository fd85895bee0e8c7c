-- What ALTER DEFAULT PRIVILEGES has set.
select
  'default privileges' as kind,
  pg_catalog.format(
    'of %I for %s%s', pg_catalog.pg_get_userbyid(d.defaclrole),
    case d.defaclobjtype
      when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types'
      when 'n' then 'schemas' when 'L' then 'large objects' else d.defaclobjtype::text
    end,
    ' in schema ' || pg_catalog.quote_ident(n.nspname)
  ) as identity,
  n.nspname::text as schema_name,
  null::text as table_name,
  d.defaclacl::text[] as acl,
  -- Those of a schema are added to what is given anyway, the others take its place.
  case when d.defaclnamespace = 0
    then pg_catalog.acldefault(
      case d.defaclobjtype when 'S' then 's' else d.defaclobjtype end, d.defaclrole
    )::text[]
    else array[]::text[]
  end as default_acl,
  pg_catalog.pg_get_userbyid(d.defaclrole)::text as acl_owner
from pg_catalog.pg_default_acl as d
left join pg_catalog.pg_namespace as n on n.oid = d.defaclnamespace
