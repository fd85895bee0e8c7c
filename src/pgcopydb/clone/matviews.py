"""Materialised views: filled from the target's own tables, each after those that it reads."""

import logging
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import Connection

from pgcopydb.clone.context import Restoring
from pgcopydb.clone.indexes import is_there, run_steps
from pgcopydb.clone.planning.builds import create_step
from pgcopydb.model.objects import Index, Table, TableKind
from pgcopydb.postgres.connect import connect, reporting, translate
from pgcopydb.sql import ddl

log = logging.getLogger(__name__)

Session = Connection[tuple[Any, ...]]


def fill(copying: Restoring, tables: Sequence[Table], indexes: Sequence[Index]) -> None:
    """Refresh the materialised views that are filled on the source, then build their indexes."""
    views = [table for table in tables if table.kind is TableKind.MATERIALIZED_VIEW]
    if not views:
        return
    with connect(copying.target, purpose="materialized views") as session:
        _refresh(copying, session, [view for view in views if view.populated])
        known = {view.oid for view in views}
        for index in indexes:
            if index.table_oid in known:
                _build(copying, session, index)
        if copying.options.skip_vacuum:
            return
        for view in views:
            with reporting(copying.target, f"vacuuming {view.schema}.{view.name}"):
                statement = ddl.vacuum(
                    view.schema, view.name, analyze=not copying.options.skip_analyze
                )
                session.execute(statement.encode())


def _refresh(copying: Restoring, session: Session, views: Sequence[Table]) -> None:
    """Refresh ``views``, postponing those that read one not filled yet.

    A view is usually older than those that read it, so the order of oids needs a second look only
    where a plain view between two was replaced later. One that reads a view which the source has
    not filled either stays empty: nobody can fill it.
    """
    waiting = sorted(views, key=lambda view: view.oid)
    while waiting:
        postponed: list[tuple[Table, psycopg.Error]] = []
        for view in waiting:
            try:
                session.execute(ddl.refresh(view.schema, view.name).encode())
            except psycopg.errors.ObjectNotInPrerequisiteState as error:
                postponed.append((view, error))
            except psycopg.Error as error:
                raise _failed(copying, view, error) from error
        if len(postponed) == len(waiting):
            for view, reason in postponed:
                log.warning(
                    "target: the materialized view %s.%s stays unfilled: %s",
                    view.schema,
                    view.name,
                    reason.diag.message_primary,
                )
            return
        waiting = [view for view, _ in postponed]


def _failed(copying: Restoring, view: Table, error: psycopg.Error) -> Exception:
    doing = f"filling the materialized view {view.schema}.{view.name}"
    return translate(copying.target, error, doing=doing)


def _build(copying: Restoring, session: Session, index: Index) -> None:
    step = create_step(index, copying.options)
    with reporting(copying.target, f"building index {index.schema}.{index.name}"):
        if not is_there(session, step):
            run_steps(session, [step])
        for statement in ddl.index_properties(index):
            session.execute(statement.encode())
