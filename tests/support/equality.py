"""Are two databases equal? Rows by digest (oracle O2), and what is built on them by definition.

::

    assert differences(source, target) == []

The digests are computed by the servers, in any order of rows, over the text of every row with
settings that make equal values equal text. Nothing of the program under test is used.
"""

import re
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from tests.support.servers import Connection, Database

_SETTINGS = (
    "set search_path = ''; set timezone = 'UTC'; set datestyle = 'ISO, MDY';"
    " set intervalstyle = 'postgres'; set extra_float_digits = 3; set bytea_output = 'hex';"
    " set lc_monetary = 'C'; set row_security = off; set enable_indexscan = on"
)

_TABLES = """
select n.nspname, c.relname,
  coalesce((select array_agg(a.attname::text order by a.attname)
    from pg_catalog.pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), array[]::text[])
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm') and c.relpersistence <> 't'
  and (c.relkind = 'r' or c.relispopulated)
  and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')
  and n.nspname !~ '^pg_'
order by 1, 2
"""

_DEFINITIONS = {
    # GRANT ALL gives MAINTAIN from 17 on.
    "relation": """
        select n.nspname || '.' || c.relname,
          concat_ws(' ', c.relkind, c.relpersistence, c.relispopulated, c.relrowsecurity,
            c.relforcerowsecurity, c.relreplident, pg_get_userbyid(c.relowner), c.relispartition,
            pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid),
            coalesce(c.reloptions::text, ''),
            coalesce(regexp_replace(c.relacl::text, 'm(?=[*]?/)', '', 'g'), ''),
            obj_description(c.oid, 'pg_class'),
            (select string_agg(p.inhparent::regclass::text, ',' order by p.inhseqno)
              from pg_inherits p where p.inhrelid = c.oid))
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c')
    """,
    "view": """
        select n.nspname || '.' || c.relname, pg_get_viewdef(c.oid)
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('v', 'm')
    """,
    "column": """
        select n.nspname || '.' || c.relname || '.' || a.attname,
          concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
            a.attgenerated, pg_get_expr(d.adbin, d.adrelid), a.attstorage,
            coalesce(nullif(a.attstattarget, -1), -1),
            (select k.collname from pg_collation k where k.oid = a.attcollation),
            col_description(c.oid, a.attnum), a.attacl::text)
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        join pg_namespace n on n.oid = c.relnamespace
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f', 'c')
    """,
    "index": """
        select n.nspname || '.' || c.relname,
          concat_ws(' ', pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisprimary,
            i.indisreplident, i.indisclustered, i.indimmediate,
            (select p.inhparent::regclass from pg_inherits p where p.inhrelid = i.indexrelid),
            obj_description(c.oid, 'pg_class'),
            (select string_agg(a.attnum || '=' || a.attstattarget, ',' order by a.attnum)
              from pg_attribute a where a.attrelid = c.oid and a.attstattarget >= 0))
        from pg_index i join pg_class c on c.oid = i.indexrelid
        join pg_namespace n on n.oid = c.relnamespace
    """,
    # From 18 on NOT NULL is a constraint too, which the columns above tell on every version; and
    # what follows from the foreign key of a partitioned table has names of each version's own.
    "constraint": """
        select concat_ws('.', n.nspname, coalesce(c.relname, t.typname), k.conname),
          concat_ws(' ', pg_get_constraintdef(k.oid), k.convalidated, k.conislocal,
            k.condeferrable, k.condeferred, obj_description(k.oid, 'pg_constraint'))
        from pg_constraint k
        join pg_namespace n on n.oid = k.connamespace
        left join pg_class c on c.oid = k.conrelid
        left join pg_type t on t.oid = k.contypid
        where k.contype <> 'n' and not (k.contype = 'f' and k.conparentid <> 0)
    """,
    "trigger": """
        select n.nspname || '.' || c.relname || '.' || t.tgname,
          concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled,
            obj_description(t.oid, 'pg_trigger'))
        from pg_trigger t join pg_class c on c.oid = t.tgrelid
        join pg_namespace n on n.oid = c.relnamespace
        where not t.tgisinternal
    """,
    "event trigger": "select evtname, evtevent || evtenabled::text from pg_event_trigger",
    "rule": """
        select schemaname || '.' || tablename || '.' || rulename, definition from pg_rules
    """,
    "policy": """
        select schemaname || '.' || tablename || '.' || policyname,
          concat_ws(' ', permissive, roles::text, cmd, qual, with_check) from pg_policies
    """,
    # Those that make ranges come with their types: multiranges are there from 14 on.
    "function": """
        select n.nspname || '.' || p.oid::regprocedure, pg_get_functiondef(p.oid)
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where p.prokind <> 'a' and not exists (
          select from pg_depend d
          where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'i'
        )
    """,
    # Sequences were types before 14.
    "type": """
        select n.nspname || '.' || t.typname,
          concat_ws(' ', t.typtype, format_type(t.typbasetype, t.typtypmod), t.typdefault,
            (select string_agg(e.enumlabel, ',' order by e.enumsortorder)
              from pg_enum e where e.enumtypid = t.oid))
        from pg_type t join pg_namespace n on n.oid = t.typnamespace
        where t.typtype in ('d', 'e', 'r', 'c') and not exists (
          select from pg_class c where c.oid = t.typrelid and c.relkind = 'S'
        )
    """,
    "statistics": """
        select n.nspname || '.' || s.stxname, pg_get_statisticsobjdef(s.oid)
        from pg_statistic_ext s join pg_namespace n on n.oid = s.stxnamespace
    """,
    "schema": """
        select n.nspname,
          concat_ws(' ', pg_get_userbyid(n.nspowner), n.nspacl::text,
            obj_description(n.oid, 'pg_namespace'))
        from pg_namespace n
    """,
}
"""For each kind of object a query of names, which begin with the schema, and what they are."""

_QUALIFIER = re.compile(r"\b\w+\.(?=[\w\"])")
"""Which columns a server prints with their table's name depends on its version."""

_FOREIGN = ("pg_catalog", "information_schema", "pgcopydb", "pg_toast", "pg_temp")


@dataclass(frozen=True)
class Digest:
    """A table's rows: how many, and the sum of their hashes."""

    rows: int
    sum: str


def table_digests(database: Database) -> dict[str, Digest]:
    """Return the digest of every table and materialised view, by ``schema.table``."""
    with database.connect() as connection:
        connection.execute(_SETTINGS)
        tables = connection.execute(_TABLES.encode()).fetchall()
        return {
            f"{schema}.{table}": _digest(connection, schema, table, columns)
            for schema, table, columns in tables
        }


def differing_tables(source: Database, target: Database) -> list[str]:
    """Return a line for each table whose rows are not the same on both sides."""
    ours, theirs = table_digests(source), table_digests(target)
    return [
        f"{name}: {ours.get(name, 'missing')} on the source,"
        f" {theirs.get(name, 'missing')} on the target"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]


def definitions(database: Database) -> dict[str, str]:
    """Return what the database defines: ``kind name`` and a text that says what it is."""
    found: dict[str, str] = {}
    with database.connect() as connection:
        connection.execute(_SETTINGS)
        for kind, query in _DEFINITIONS.items():
            for name, text in connection.execute(query.encode()):
                if not str(name).startswith(_FOREIGN):
                    found[f"{kind} {name}"] = _QUALIFIER.sub("", str(text))
    return found


def differing_definitions(source: Database, target: Database) -> list[str]:
    """Return a line for each object that only one side has, or that differs."""
    ours, theirs = definitions(source), definitions(target)
    return [
        f"{name}:\n  source {ours.get(name, 'has none')}\n  target {theirs.get(name, 'has none')}"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]


def sequence_places(database: Database) -> dict[str, tuple[int, bool]]:
    """Return where every sequence stands: last_value and is_called."""
    with database.connect() as connection:
        names = connection.execute(
            "select schemaname, sequencename from pg_sequences where schemaname <> 'pgcopydb'"
        ).fetchall()
        return {f"{schema}.{name}": _place(connection, schema, name) for schema, name in names}


def differences(source: Database, target: Database) -> list[str]:
    """Return everything in which rows, definitions and sequences are not the same."""
    ours, theirs = sequence_places(source), sequence_places(target)
    sequences = [
        f"sequence {name}: {ours.get(name)} on the source, {theirs.get(name)} on the target"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]
    return [
        *differing_tables(source, target),
        *differing_definitions(source, target),
        *sequences,
    ]


def _digest(connection: Connection, schema: str, table: str, columns: list[str]) -> Digest:
    # By name: the order of the columns may differ.
    row = sql.SQL("row({})").format(sql.SQL(", ").join(map(sql.Identifier, columns)))
    # A hash per row, added up: any order, and duplicates count.
    query = sql.SQL(
        "select count(*), coalesce(sum(('x' || substr(h, 1, 15))::bit(60)::bigint::numeric), 0)"
        " || ' ' || coalesce(sum(('x' || substr(h, 17, 15))::bit(60)::bigint::numeric), 0)"
        " from (select md5(({})::text) as h from only {}) as hashed"
    ).format(row, sql.Identifier(schema, table))
    found: tuple[Any, ...] | None = connection.execute(query).fetchone()
    assert found is not None
    return Digest(*found)


def _place(connection: Connection, schema: str, name: str) -> tuple[int, bool]:
    query = sql.SQL("select last_value, is_called from {}").format(sql.Identifier(schema, name))
    found = connection.execute(query).fetchone()
    assert found is not None
    return found[0], found[1]
