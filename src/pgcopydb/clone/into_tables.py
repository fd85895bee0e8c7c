"""Rows into tables that are on the target already: made by an earlier command, or by somebody."""

from collections.abc import Collection, Sequence
from typing import Any, Final

from psycopg import Connection, sql

from pgcopydb.clone.context import Copying
from pgcopydb.errors import StateError, TargetError, some_of
from pgcopydb.model.objects import ConstraintKind, Table, TableKind
from pgcopydb.postgres import discover, triggers
from pgcopydb.postgres.connect import connect, reporting

Session = Connection[tuple[Any, ...]]

_ASKED_AT_ONCE: Final = 200
_NOT_TRUNCATABLE: Final = (
    "select from rows from (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[]))"
    "  as wanted (schema, name)"
    " join pg_catalog.pg_namespace as n on n.nspname = wanted.schema"
    " join pg_catalog.pg_class as c on c.relnamespace = n.oid and c.relname = wanted.name"
    " where c.relkind <> 'r' or not pg_catalog.has_table_privilege(c.oid, 'truncate') limit 1"
)
_BEFORE_DATA: Final = frozenset({TableKind.TABLE, TableKind.PARTITIONED})


def refuse_unready(copying: Copying, wanted: Sequence[Table]) -> None:
    """Raise StateError when the target lacks tables of ``wanted``, or TargetError when it has rows.

    Rows that somebody else wrote are neither mixed with the copy nor removed unasked.
    """
    refuse_missing(copying, wanted)
    target = copying.target
    with connect(target, purpose="clone") as session, reporting(target, "looking for rows"):
        filled = _filled(session, [table for table in wanted if table.has_rows])
    if filled:
        raise TargetError(
            f"target: tables to copy into have rows already: {some_of(filled)}",
            hint="empty them, or use --resume in the --dir of the copy that wrote them",
        )


def refuse_missing(copying: Copying, wanted: Sequence[Table]) -> None:
    """Raise StateError when the target lacks tables of ``wanted``."""
    target = copying.target
    with connect(target, purpose="clone") as session, reporting(target, "listing the tables"):
        there = discover.list_tables(session, with_columns=False, with_sizes=False)
    present = {(table.schema, table.name) for table in there}
    missing = [
        f"{table.schema}.{table.name}"
        for table in wanted
        # A materialised view that reads a table by its key comes after the data.
        if table.kind in _BEFORE_DATA and (table.schema, table.name) not in present
    ]
    if missing:
        raise StateError(
            f"target: tables are not there yet: {some_of(missing)}",
            hint="make them first: pgcopydb dump schema, then pgcopydb restore pre-data",
        )


def must_silence(copying: Copying, filled: Collection[tuple[str, str]]) -> bool:
    """Tell whether the target has triggers or foreign keys that would act on the rows.

    ``filled`` are the tables, by schema and name, that the rows go into. Raises StateError where
    the role cannot keep them from acting.
    """
    target = copying.target
    with connect(target, purpose="clone") as session:
        acting = [
            f'trigger "{one.name}" of {one.schema}.{one.table}'
            for one in triggers.firing_triggers(session, target, silenced=False)
        ]
        with reporting(target, "reading the foreign keys"):
            acting += [
                f'foreign key "{key.name}" of {key.table_schema}.{key.table_name}'
                for key in discover.list_constraints(session)
                if key.kind is ConstraintKind.FOREIGN_KEY
            ]
        if not acting:
            return False
        stubborn = [
            f'trigger "{one.name}" of {one.schema}.{one.table}'
            for one in triggers.firing_triggers(session, target, silenced=True)
            if (one.schema, one.table) in filled
        ]
        mended = "disable them meanwhile: ALTER TABLE ... DISABLE TRIGGER"
        if not triggers.may_silence(session, target):
            stubborn = acting
            mended = "let the role set session_replication_role"
    if stubborn:
        raise StateError(
            f"target: {some_of(stubborn)} would act on the rows that are copied",
            hint="copy the rows before that is made: restore pre-data, copy data, restore"
            f" post-data; or {mended}",
        )
    return True


def may_truncate(copying: Copying, filled: Collection[tuple[str, str]]) -> bool:
    """Tell whether all of the tables ``filled``, by schema and name, can be truncated, each alone.

    It is a right of its own: whoever may insert into a table need not have it. And a table may be
    partitioned here that is not on the source.
    """
    schemas, names = zip(*filled, strict=True) if filled else ((), ())
    target = copying.target
    with connect(target, purpose="clone") as session, reporting(target, "looking at its rights"):
        return not session.execute(_NOT_TRUNCATABLE, (list(schemas), list(names))).fetchall()


def _filled(session: Session, tables: Sequence[Table]) -> list[str]:
    found: list[str] = []
    for start in range(0, len(tables), _ASKED_AT_ONCE):
        batch = tables[start : start + _ASKED_AT_ONCE]
        looks = (
            sql.SQL("exists (select from only {})").format(sql.Identifier(table.schema, table.name))
            for table in batch
        )
        row = session.execute(sql.SQL("select {}").format(sql.SQL(", ").join(looks))).fetchone()
        found += [
            f"{table.schema}.{table.name}"
            for table, filled in zip(batch, row or (), strict=True)
            if filled
        ]
    return found
