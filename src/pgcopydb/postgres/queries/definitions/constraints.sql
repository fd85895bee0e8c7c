-- Constraints of tables and domains.
-- From 18 on NOT NULL is one, which every version tells of the column: only one that was never
-- checked is told here. What follows from the foreign key of a partitioned table has names of each
-- version's own. Constraint triggers are triggers.
select
  'constraint' as kind,
  pg_catalog.format(
    '%I.%I.%I', n.nspname, coalesce(c.relname, t.typname), k.conname
  ) as identity,
  n.nspname::text as schema_name,
  c.relname::text as table_name,
  'pg_catalog.pg_constraint'::regclass::oid::bigint as catalog,
  k.oid::bigint as object,
  nullif(k.confrelid, 0)::bigint as referenced,
  pg_catalog.pg_get_constraintdef(k.oid) as definition,
  case when k.convalidated then 'yes' else 'no' end as validated,
  case when k.conislocal then 'yes' else 'no' end as "defined here",
  pg_catalog.obj_description(k.oid, 'pg_constraint') as comment
from pg_catalog.pg_constraint as k
left join pg_catalog.pg_class as c on c.oid = k.conrelid
left join pg_catalog.pg_type as t on t.oid = k.contypid
join pg_catalog.pg_namespace as n on n.oid = coalesce(c.relnamespace, t.typnamespace)
where (k.contype in ('c', 'p', 'u', 'x') or (k.contype = 'n' and not k.convalidated)
    or (k.contype = 'f' and k.conparentid = 0))
  and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
  and not exists (
    select from pg_catalog.pg_depend as e
    where e.deptype = 'e' and (
      (e.classid = 'pg_catalog.pg_class'::regclass and e.objid = k.conrelid)
      or (e.classid = 'pg_catalog.pg_type'::regclass and e.objid = k.contypid)
    )
  )
