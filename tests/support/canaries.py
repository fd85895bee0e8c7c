"""Objects of a hostile owner of a schema: they wait for somebody whose path finds them first.

::

    plant(source)                       # before the migration; the copy takes them to the target
    expect(target)                      # the target's sessions look there first too
    assert fired(source) == []

For nearly every operator of PostgreSQL, and for every function and aggregate that the program's
source names, there is one of the same name and arguments, found before it by the sessions of the
database, that fails and leaves a trace that no rollback takes away. pg_temp, which comes first of
all, belongs to a session alone: nobody else can put anything there.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import LiteralString

import pgcopydb
from tests.support.servers import Database

_PATH = "canary, pg_catalog, public"

_FIRE = """
create schema canary;
create sequence canary.fired;
create function canary.fire(what text) returns void language plpgsql as $$begin
  perform pg_catalog.nextval('canary.fired');
  raise exception 'canary: % runs as %', what, current_user;
end$$;
"""

_SCRIPT = """
do $do$
declare
  one record;
begin
  for one in
    select p.proname as name, p.proretset as is_set, p.prorettype::regtype::text as result,
           array(select format_type(t, null) from unnest(p.proargtypes::oid[]) as t) as arguments
      from pg_proc p join pg_type r on r.oid = p.prorettype
     where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind in ('f', 'a')
       and p.proname = any (string_to_array('{names}', ' '))
       and p.proallargtypes is null and r.typtype <> 'p' and p.pronargs > 0
       and not exists (select from pg_type t where t.oid = any (p.proargtypes) and t.typtype = 'p')
  loop
    execute format('create function canary.%I(%s) returns %s%s language plpgsql as'
      ' ''begin perform canary.fire(%s); return%s; end''', one.name,
      array_to_string(one.arguments, ', '), case when one.is_set then 'setof ' else '' end,
      one.result, replace(quote_literal(one.name), '''', ''''''),
      case when one.is_set then '' else ' null' end);
  end loop;
  for one in
    select o.oid, o.oprname as name, o.oprresult::regtype::text as result,
           nullif(o.oprleft, 0)::regtype::text as left_type, o.oprright::regtype::text as right_type
      from pg_operator o
     where o.oprnamespace = 'pg_catalog'::regnamespace and o.oprright <> 0
       and not exists (select from pg_type t
                        where t.oid in (o.oprleft, o.oprright, o.oprresult)
                          and (t.typtype = 'p' or t.typcategory = 'G'))
  loop
    execute format('create function canary.operator_%s(%s) returns %s language plpgsql as'
      ' ''begin perform canary.fire(%s); return null; end''', one.oid,
      concat_ws(', ', one.left_type, one.right_type), one.result,
      replace(quote_literal(one.name), '''', ''''''));
    execute format('create operator canary.%s (function = canary.operator_%s, %s rightarg = %s)',
      one.name, one.oid, 'leftarg = ' || one.left_type || ',', one.right_type);
  end loop;
end$do$;
"""

_FIRED = """
select 'it was called' from pg_catalog.pg_sequences
 where schemaname operator(pg_catalog.=) 'canary' and last_value is not null
"""


def plant(database: Database) -> None:
    """Make the canaries in a database, and let its sessions find them first."""
    sources = [path for path in Path(pgcopydb.__file__).parent.rglob("*") if path.is_file()]
    texts = [path.read_text() for path in sources if path.suffix in {".py", ".sql"}]
    names = sorted(set(re.findall(r"\b[a-z_0-9]+\b", " ".join(texts))))
    database.execute(_FIRE)
    database.execute(_SCRIPT.replace("{names}", " ".join(names)))
    expect(database)


_CAST_TO = ("text", "varchar", "name", "bytea", "jsonb", "int4", "int8", "numeric", "text[]")


def plant_casts(database: Database, types: Iterable[LiteralString]) -> None:
    """Let every conversion between one of ``types``, which users made, and others be a canary.

    The owner of a type may say how it is cast; no search_path is needed for it to be found. (Were
    it unasked, implicit, no statement could compare two values of an enumerated type any more.)
    """
    database.execute(_FIRE)
    pairs = [(one, other) for one in types for other in _CAST_TO]
    for number, (one, other) in enumerate(pairs + [(other, one) for one, other in pairs]):
        database.execute(
            f"create function canary.cast_{number}({one}) returns {other} language plpgsql as"
            f" 'begin perform canary.fire(''{one} as {other}''); return null; end';"
            f"create cast ({one} as {other}) with function canary.cast_{number}({one})"
            " as assignment"
        )


def expect(database: Database) -> None:
    """Let the sessions of a database find the canaries first, as soon as they are there."""
    database.execute(
        f"do $$begin execute pg_catalog.format('alter database %I set search_path = {_PATH}',"
        " pg_catalog.current_database()); end$$"
    )


def fired(database: Database) -> list[str]:
    """Return what tells that one of the canaries was called by anybody."""
    return [found for (found,) in database.rows(_FIRED)]
