-- Those of another server's names (system_names) that this one does not know, by their place in
-- the arrays. Versions change the types of arguments and add optional ones, after which a call is
-- still understood: a function is there when one of its name takes as many, and an operator on
-- polymorphic types when one of its name has the same sides.
select u.place::integer as place
from rows from (
  pg_catalog.unnest(%(kinds)s::text[]), pg_catalog.unnest(%(schemas)s::text[]),
  pg_catalog.unnest(%(names)s::text[]), pg_catalog.unnest(%(details)s::text[]),
  pg_catalog.unnest(%(least)s::integer[]), pg_catalog.unnest(%(most)s::integer[])
) with ordinality as u (kind, schema, name, detail, least, most, place)
left join pg_catalog.pg_namespace as n on n.nspname = u.schema
where not case u.kind
  when 'function' then exists (
    select from pg_catalog.pg_proc as p
    where p.proname = u.name and p.pronamespace = n.oid
      and p.pronargs - p.pronargdefaults <= u.most
      and (p.pronargs >= u.least or p.provariadic <> 0)
  )
  when 'operator' then exists (
    select from pg_catalog.pg_operator as o
    where o.oprname = u.name and o.oprnamespace = n.oid and (
      u.detail = pg_catalog.format_type(o.oprleft, null)
        || ',' || pg_catalog.format_type(o.oprright, null)
      or (u.detail ~ '\many'
        and (o.oprleft = 0) = (u.detail ~ '^-,') and (o.oprright = 0) = (u.detail ~ ',-$'))
    )
  )
  else exists (
    select from pg_catalog.pg_class as c
    where c.relname = u.name and c.relnamespace = n.oid and (
      u.kind = 'relation'
      or exists (
        select from pg_catalog.pg_attribute as a
        where a.attrelid = c.oid and a.attname = u.detail and not a.attisdropped
      )
    )
  )
end
order by 1
