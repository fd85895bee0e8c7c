-- What of a database cannot be without what else. The server's own objects, whose oids are below
-- 16384 (FirstNormalObjectId), are always there.
select distinct
  d.classid::bigint as dependent_catalog,
  d.objid::bigint as dependent_oid,
  d.refclassid::bigint as needed_catalog,
  d.refobjid::bigint as needed_oid,
  d.deptype::text as kind,
  d.deptype = 'i'
    or (d.deptype = 'a' and d.classid = 'pg_catalog.pg_attrdef'::regclass)
    or (d.deptype = 'a' and k.contype = 'c') as is_part
from pg_catalog.pg_depend as d
left join pg_catalog.pg_constraint as k
  on d.classid = 'pg_catalog.pg_constraint'::regclass and k.oid = d.objid
where d.objid >= 16384
  and d.refobjid >= 16384
  and (d.classid, d.objid) <> (d.refclassid, d.refobjid)
