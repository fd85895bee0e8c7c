-- What later versions of PostgreSQL cannot make any more, and since which. 17 gives partitions the
-- identity columns of their table, and takes no table that has some; since 16 a column is generated
-- only where it is in the table that it is inherited from. 14 took the operators
-- after their operand away, and gave functions on arrays other pseudo-types, which aggregates and
-- operators that are made of them have to follow (as pg_upgrade checks).
with altered as (
  select pg_catalog.to_regprocedure(signature)::oid as oid
  from pg_catalog.unnest(array[
    'pg_catalog.array_append(anyarray, anyelement)',
    'pg_catalog.array_cat(anyarray, anyarray)',
    'pg_catalog.array_prepend(anyelement, anyarray)',
    'pg_catalog.array_remove(anyarray, anyelement)',
    'pg_catalog.array_replace(anyarray, anyelement, anyelement)',
    'pg_catalog.array_position(anyarray, anyelement)',
    'pg_catalog.array_position(anyarray, anyelement, integer)',
    'pg_catalog.array_positions(anyarray, anyelement)',
    'pg_catalog.width_bucket(anyelement, anyarray)'
  ]) as signature
)
select o.catalog::oid::bigint as catalog, o.oid::bigint as oid, i.type || ' ' || i.identity as name,
  o.since
from (
  select 'pg_catalog.pg_operator'::regclass as catalog, p.oid, 0 as part, 14 as since
  from pg_catalog.pg_operator as p
  where p.oprcode <> 0 and (
    p.oprright = 0
    or (p.oprcode in (select oid from altered)
      and p.oprleft in ('pg_catalog.anyarray'::regtype, 'pg_catalog.anyelement'::regtype))
  )
  union all
  select 'pg_catalog.pg_proc'::regclass, a.aggfnoid, 0, 14
  from pg_catalog.pg_aggregate as a
  where (a.aggtransfn in (select oid from altered) or a.aggfinalfn in (select oid from altered))
    and a.aggtranstype in ('pg_catalog.anyarray'::regtype, 'pg_catalog.anyelement'::regtype)
  union all
  select 'pg_catalog.pg_class'::regclass, c.oid, a.attnum, 17
  from pg_catalog.pg_class as c
  join pg_catalog.pg_attribute as a on a.attrelid = c.oid
  where c.relispartition and a.attidentity <> '' and not a.attisdropped
  union all
  select distinct 'pg_catalog.pg_class'::regclass, a.attrelid, a.attnum, 16
  from pg_catalog.pg_attribute as a
  join pg_catalog.pg_inherits as h on h.inhrelid = a.attrelid
  join pg_catalog.pg_attribute as b on b.attrelid = h.inhparent and b.attname = a.attname
  where a.attgenerated <> '' and b.attgenerated = '' and not b.attisdropped
) as o,
pg_catalog.pg_identify_object(o.catalog, o.oid, o.part) as i
where o.oid >= 16384  -- FirstNormalObjectId: initdb made the others
  and i.schema is distinct from 'pgcopydb'
  and not exists (
    select from pg_catalog.pg_depend as d
    where d.classid = o.catalog and d.objid = o.oid and d.objsubid = 0 and d.deptype = 'e'
  )
order by 3
