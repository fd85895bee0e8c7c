"""Drops relations of the target that are about to be made again, and nothing that only it has.

Nothing is dropped in cascade: a relation goes once nothing depends on it. What of the copy depends
on each other, as views that read each other, is taken apart first.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import psycopg
from msgspec import Struct
from psycopg import Connection, sql

from pgcopydb.clone.schema_dump import Relation
from pgcopydb.errors import TargetError

Session = Connection[tuple[Any, ...]]

ROUTINES: Final = frozenset({"AGGREGATE", "FUNCTION", "PROCEDURE"})
"""What the dump calls the objects that DROP ROUTINE drops."""

_DROP: Final = {
    "v": sql.SQL("drop view if exists {}"),
    "m": sql.SQL("drop materialized view if exists {}"),
    "f": sql.SQL("drop foreign table if exists {}"),
    "r": sql.SQL("drop table if exists {}"),
    "p": sql.SQL("drop table if exists {}"),
}

_OF: Final = (
    " join pg_catalog.pg_namespace as n on n.oid = c.relnamespace"
    " join rows from (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[]))"
    " as held (schema, name) on held.schema = n.nspname and held.name = c.relname"
)

_POLICIES: Final = (
    "select pg_catalog.format('drop policy if exists %%I on %%I.%%I',"
    " p.polname, n.nspname, c.relname)"
    " from pg_catalog.pg_policy as p join pg_catalog.pg_class as c on c.oid = p.polrelid" + _OF
)

_RULES: Final = (
    "select pg_catalog.format('drop rule if exists %%I on %%I.%%I',"
    " r.rulename, n.nspname, c.relname)"
    " from pg_catalog.pg_rewrite as r join pg_catalog.pg_class as c on c.oid = r.ev_class"
    + _OF
    + " where r.rulename <> '_RETURN'"
)

_EMPTY_VIEWS: Final = (
    "select pg_catalog.format('create or replace view %%I.%%I as select %%s',"
    "  n.nspname, c.relname, pg_catalog.string_agg(pg_catalog.format('null::%%s%%s as %%I',"
    "   pg_catalog.format_type(a.atttypid, a.atttypmod),"
    "   case when a.attcollation <> t.typcollation then (select pg_catalog.format("
    "    ' collate %%I.%%I', s.nspname, l.collname) from pg_catalog.pg_collation as l"
    "    join pg_catalog.pg_namespace as s on s.oid = l.collnamespace"
    "    where l.oid = a.attcollation) end, a.attname), ', ' order by a.attnum))"
    " from pg_catalog.pg_class as c"
    + _OF
    + " join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attnum > 0"
    " join pg_catalog.pg_type as t on t.oid = a.atttypid"
    " where c.relkind = 'v' group by n.nspname, c.relname"
)

_ROUTINES: Final = (
    "select n.nspname::text, pg_catalog.translate(pg_catalog.concat(p.proname, '(', coalesce("
    " (select pg_catalog.string_agg(pg_catalog.format_type(a.type, null), ', ' order by a.place)"
    "  from pg_catalog.unnest(p.proargtypes) with ordinality as a (type, place)),"
    " case when p.prokind = 'a' then '*' end), ')'), pg_catalog.concat(chr(10), chr(13)), '  '),"
    " pg_catalog.format('drop routine if exists %s', p.oid::pg_catalog.regprocedure)"
    " from pg_catalog.pg_proc as p join pg_catalog.pg_namespace as n on n.oid = p.pronamespace"
    " where p.oid >= 16384"
)
"""Schema, name as a dump's table of contents has it, and the statement that drops it."""


class _Item(Struct, frozen=True):
    """What is to be dropped: its name for people, and the statement that drops it."""

    name: str
    statement: bytes
    is_relation: bool = True


def drop_relations(
    connection: Session,
    relations: Iterable[Relation],
    routines: Iterable[tuple[str | None, str]],
) -> None:
    """Drop ``relations``, those that others depend on after these; views come first.

    ``routines`` are schema and name, as a dump lists it, of the functions that will be made again
    as well: they go too where a relation cannot go before them. Raises TargetError when something
    else depends on a relation.
    """
    waiting = sorted(relations, key=lambda one: (one.kind not in {"v", "m"}, one))
    items = {_item_of(connection, relation): relation for relation in waiting}
    held = _drop_all(connection, list(items))
    if held:
        _take_apart(connection, [items[one] for one in held])
        held = _drop_all(connection, [*_list_routines(connection, frozenset(routines)), *held])
    for item, detail in held.items():
        if item.is_relation:
            raise TargetError(
                f"target: {item.name} cannot be replaced: {detail}",
                hint="drop what only the target has and depends on it",
            )


def _item_of(connection: Session, relation: Relation) -> _Item:
    statement = _DROP[relation.kind].format(sql.Identifier(relation.schema, relation.name))
    return _Item(f"{relation.schema}.{relation.name}", statement.as_bytes(connection))


def _list_routines(connection: Session, known: frozenset[tuple[str | None, str]]) -> list[_Item]:
    return [
        _Item(name, statement.encode(), is_relation=False)
        for schema, name, statement in connection.execute(_ROUTINES.encode()).fetchall()
        if (schema, name) in known
    ]


def _drop_all(connection: Session, items: Sequence[_Item]) -> dict[_Item, str]:
    """Drop what nothing depends on, as often as that helps; return the rest with what holds it."""
    waiting = items
    while waiting:
        held: dict[_Item, str] = {}
        for item in waiting:
            try:
                connection.execute(item.statement)
            except psycopg.errors.DependentObjectsStillExist as error:
                detail = error.diag.message_detail or "something depends on it"
                held[item] = detail.split("\n")[0]
        if len(held) == len(waiting):
            return held
        waiting = list(held)
    return {}


def _take_apart(connection: Session, held: Sequence[Relation]) -> None:
    """Have ``held`` read nothing: rules and policies go, a view selects nulls of its own types."""
    names = [[one.schema for one in held], [one.name for one in held]]
    for query in (_POLICIES, _RULES, _EMPTY_VIEWS):
        for (statement,) in connection.execute(query.encode(), names).fetchall():
            connection.execute(statement.encode())
