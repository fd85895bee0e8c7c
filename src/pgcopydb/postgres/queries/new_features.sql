-- What older versions of PostgreSQL cannot make, and since which it can be made. A row as JSON has
-- what this server's version has, so that the query runs on all of them.
with constraints as (
  select k.oid, k.contype, k.convalidated,
    pg_catalog.to_jsonb(k) ->> 'conenforced' = 'false' as is_ignored
  from pg_catalog.pg_constraint as k
  where k.oid >= 16384
)
select f.feature, f.since, f.catalog::oid::bigint as catalog, f.oid::bigint as oid,
  i.type || ' ' || i.identity as name
from (
  select 'NULLS NOT DISTINCT' as feature, 15 as since, 'pg_catalog.pg_class'::regclass as catalog,
    x.indexrelid as oid, 0 as part
  from pg_catalog.pg_index as x
  where x.indrelid >= 16384 and x.indisunique
    and pg_catalog.to_jsonb(x) ->> 'indnullsnotdistinct' = 'true'
  union all
  select 'a row filter or a column list', 15, 'pg_catalog.pg_publication_rel'::regclass, r.oid, 0
  from pg_catalog.pg_publication_rel as r
  where pg_catalog.to_jsonb(r) ->> 'prqual' is not null
    or pg_catalog.to_jsonb(r) ->> 'prattrs' is not null
  union all
  select 'security_invoker', 15, 'pg_catalog.pg_class'::regclass, c.oid, 0
  from pg_catalog.pg_class as c
  where c.relkind = 'v' and c.reloptions::text ~ '\msecurity_invoker='
  union all
  select 'virtual generated columns', 18, 'pg_catalog.pg_class'::regclass, a.attrelid, a.attnum
  from pg_catalog.pg_attribute as a
  where a.attgenerated = 'v' and not a.attisdropped
  union all
  select 'NOT ENFORCED', 18, 'pg_catalog.pg_constraint'::regclass, k.oid, 0
  from constraints as k
  where k.is_ignored
  union all
  select 'NOT VALID of NOT NULL', 18, 'pg_catalog.pg_constraint'::regclass, k.oid, 0
  from constraints as k
  where k.contype = 'n' and not k.convalidated
  union all
  select 'multiranges', 14, 'pg_catalog.pg_class'::regclass, a.attrelid, a.attnum
  from pg_catalog.pg_attribute as a
  join pg_catalog.pg_class as c on c.oid = a.attrelid and c.relkind in ('r', 'p', 'v', 'm', 'f', 'c')
  join pg_catalog.pg_type as t on t.oid = a.atttypid
  left join pg_catalog.pg_type as e on e.oid = t.typelem
  where a.attrelid >= 16384 and not a.attisdropped and 'm' in (t.typtype, e.typtype)
  union all
  select 'bodies in standard SQL', 14, 'pg_catalog.pg_proc'::regclass, p.oid, 0
  from pg_catalog.pg_proc as p
  where p.oid >= 16384 and pg_catalog.to_jsonb(p) ->> 'prosqlbody' is not null
  union all
  select 'statistics of expressions', 14, 'pg_catalog.pg_statistic_ext'::regclass, s.oid, 0
  from pg_catalog.pg_statistic_ext as s
  where pg_catalog.to_jsonb(s) ->> 'stxexprs' is not null
) as f,
pg_catalog.pg_identify_object(f.catalog, f.oid, f.part) as i
where f.oid >= 16384  -- FirstNormalObjectId: initdb made the others
  and f.since > %(major)s
  and (i.schema is null or i.schema !~ '^(pgcopydb$|pg_temp_|pg_toast|information_schema$)')
  and not exists (
    select from pg_catalog.pg_depend as d
    where d.classid = f.catalog and d.objid = f.oid and d.objsubid = 0 and d.deptype = 'e'
  )
order by 2, 1, 5
