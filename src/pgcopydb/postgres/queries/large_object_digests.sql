-- The next large objects by oid: size in bytes, and the sum of the hashes of their megabytes.
-- A piece's number is part of what is hashed, so that pieces that changed places are noticed.
select
  opened.oid,
  opened.size,
  (
    select coalesce(pg_catalog.sum((
      'x' || pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(
        pg_catalog.int8send(piece.number) || pg_catalog.lo_get(opened.oid, piece.number << 20, 1048576)
      ), 'hex'), 16)
    )::pg_catalog.bit(64)::pg_catalog.int8), 0)::pg_catalog.text
    from pg_catalog.generate_series(0, (opened.size - 1) >> 20) as piece (number)
  ) as digest
from (
  -- 262144 is INV_READ (libpq/libpq-fs.h), 2 is SEEK_END; closed at once, as their number is bounded.
  select
    descriptor.oid,
    pg_catalog.lo_lseek64(descriptor.number, 0, 2) as size,
    pg_catalog.lo_close(descriptor.number) as closed
  from (
    select listed.oid, pg_catalog.lo_open(listed.oid, 262144) as number
    from (
      select m.oid from pg_catalog.pg_largeobject_metadata as m
      where m.oid > %(after)s::pg_catalog.oid order by m.oid limit %(most)s
    ) as listed
    offset 0
  ) as descriptor
  offset 0
) as opened
order by opened.oid
