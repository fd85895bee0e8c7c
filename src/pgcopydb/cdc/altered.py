"""Tables of the target that somebody alters while changes are applied to them.

A session that applies goes by the columns as they were when it began. Where one is narrowed then,
to ``numeric(5,1)`` say, the server rounds what is applied and says nothing. So what they were
before the first change is written down; that one was altered is told as soon as it is seen, and at
the end such a table has to take what the source has, and to be equal.
"""

import logging
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import psycopg

from pgcopydb.cdc.capture import read_capture, read_tables
from pgcopydb.cdc.targets import TargetTables, read_shapes, read_target_tables
from pgcopydb.cdc.whole_tables import differing_tables
from pgcopydb.errors import StateError, some_of
from pgcopydb.model.capture import Capture
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Table
from pgcopydb.model.targets import TableShape, TargetTable
from pgcopydb.postgres.connect import connect
from pgcopydb.rules.alterations import alteration
from pgcopydb.rules.column_types import takes
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.store import read_fact, write_fact

log = logging.getLogger(__name__)

_SHAPES: Final = "shapes of the target's tables"

Name = tuple[str, str]


def note_shapes(store: sqlite3.Connection, tables: TargetTables, capture: Capture) -> None:
    """Write down what the tables are to which changes will be applied, unless that is known.

    To be called before anything is applied by a session that goes by these ``tables``.
    """
    followed = capture.names() | {name for table in capture.tables for name in table.ancestors}
    known = _known(store)
    unknown = followed - {(one.schema, one.name) for one in known}
    # One without columns is not among the shapes that are read later, and nothing can alter it.
    new = [tables[name].shape for name in sorted(unknown & tables.keys()) if tables[name].columns]
    if new:
        write_fact(store, _SHAPES, [*known, *new])


def find_altered(
    work: WorkDirectory, connection: psycopg.Connection[Any], target: Endpoint
) -> dict[Name, str]:
    """Say of each table of the target that was altered since it was written down in what way."""
    with work.store() as store:
        known = _known(store)
    return _altered(known, read_shapes(connection, target)) if known else {}


def refuse_altered(work: WorkDirectory, source: Endpoint, target: Endpoint) -> None:
    """Raise StateError where tables were altered under what was applied, and differ.

    To be called when everything is applied and the source's writers have stopped.
    """
    with connect(target, purpose="final check") as connection:
        with work.store() as store:
            known = _known(store)
        if not known:
            return
        shapes = read_shapes(connection, target)
        altered = _altered(known, shapes)
        if not altered:
            return
        there = read_target_tables(connection, target)
    with connect(source, purpose="final check") as connection:
        here = read_tables(connection, source, read_capture(work).filters)
    _refuse_narrower(here, there, altered)
    log.info("comparing the tables that were altered on the target: %s", _explained(altered))
    different = differing_tables(work, source, target, altered)
    if different:
        raise StateError(
            "target: tables were altered while changes were applied to them"
            f" ({_explained(altered)}), and differ: {different}",
            hint="with the source's writers stopped, bring them to the target as they are on the"
            " source, then run again with --resume; or clone again",
        )
    log.info("the tables that were altered on the target are equal: %s", _explained(altered))
    followed = {(one.schema, one.name) for one in known}
    with work.store() as store:
        write_fact(store, _SHAPES, [one for one in shapes if (one.schema, one.name) in followed])


def _refuse_narrower(
    here: Iterable[Table], there: Mapping[Name, TargetTable], altered: Collection[Name]
) -> None:
    """Raise StateError where an altered table cannot hold what the source's may."""
    narrower = {
        (table.schema, table.name): found
        for table in here
        if (table.schema, table.name) in altered
        and (found := _narrower(table, there.get((table.schema, table.name))))
    }
    if narrower:
        raise StateError(
            "target: tables were altered while changes were applied to them:"
            f" {_explained(narrower)}",
            hint="what was applied may be rounded or cut: alter them to what they are on the"
            " source, bring their rows to the target, then run again with --resume; or clone again",
        )


def _narrower(table: Table, there: TargetTable | None) -> str:
    """Say which columns of the target do not take the source's, "" where all do."""
    found = []
    for column in table.columns:
        other = None if there is None else there.columns.get(column.name)
        if other is None or other.generated:
            continue
        names = column.type_names or (column.type,)
        if not any(takes(other, name, column.type_modifier) for name in names):
            found.append(f"column {column.name} is {other.type}, on the source {column.type}")
    return some_of(found)


def _altered(known: Iterable[TableShape], shapes: Iterable[TableShape]) -> dict[Name, str]:
    now = {(one.schema, one.name): one for one in shapes}
    return {
        (one.schema, one.name): found
        for one in known
        if (found := alteration(one, now.get((one.schema, one.name))))
    }


def _explained(found: Mapping[Name, str]) -> str:
    return some_of([f"{'.'.join(name)}: {why}" for name, why in found.items()])


def _known(store: sqlite3.Connection) -> list[TableShape]:
    return read_fact(store, _SHAPES, list[TableShape]) or []
