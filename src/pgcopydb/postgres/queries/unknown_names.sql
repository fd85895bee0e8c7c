-- Those of another server's names (system_names) that this one does not know, by their place in
-- the arrays. Versions change the types of arguments and add optional ones, after which a call is
-- still understood: a function is there when one of its name takes as many, and an operator on
-- polymorphic types when one of its name has the same sides. New columns of a function come last.
select u.place::integer as place
from rows from (
  pg_catalog.unnest(%(kinds)s::text[]), pg_catalog.unnest(%(schemas)s::text[]),
  pg_catalog.unnest(%(names)s::text[]), pg_catalog.unnest(%(details)s::text[]),
  pg_catalog.unnest(%(least)s::integer[]), pg_catalog.unnest(%(most)s::integer[])
) with ordinality as u (kind, schema, name, detail, least, most, place)
left join pg_catalog.pg_namespace as n on n.nspname = u.schema
where not case
  when u.kind in ('function', 'columns of function') then exists (
    select from pg_catalog.pg_proc as p,
    lateral (
      select pg_catalog.string_agg(a.name, ',' order by a.place) as names
      from rows from (
        pg_catalog.unnest(p.proargnames), pg_catalog.unnest(p.proargmodes)
      ) with ordinality as a (name, mode, place)
      where a.mode in ('o', 'b', 't')
    ) as columns
    where p.proname = u.name and p.pronamespace = n.oid
      and p.pronargs - p.pronargdefaults <= u.most
      and (p.pronargs >= u.least or p.provariadic <> 0)
      and (u.detail = '' or pg_catalog.starts_with(columns.names || ',', u.detail || ','))
  )
  when u.kind = 'operator' then exists (
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
