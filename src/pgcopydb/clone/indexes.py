"""Indexes, constraints with one, vacuum, statistics: what is built on a table once it is there."""

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
from psycopg import Connection

from pgcopydb.clone.planning.builds import may_skip_database
from pgcopydb.clone.planning.jobs import Build, Step, Upkeep
from pgcopydb.clone.statistics import SourceStatistics
from pgcopydb.errors import some_of
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import ServerFacts
from pgcopydb.model.options import CopyOptions
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.short_sessions import short_session
from pgcopydb.sql.ddl import COUNT_DATABASE
from pgcopydb.sql.quote import qualified_name
from pgcopydb.workdir.jobs import Job

Session = Connection[tuple[Any, ...]]

_INDEX_IS_THERE: Final = (
    "select from pg_catalog.pg_index as i join pg_catalog.pg_class as c on c.oid = i.indexrelid"
    " where i.indexrelid = pg_catalog.to_regclass(%s) and (i.indisvalid or c.relkind = 'I')"
)
_CONSTRAINT_IS_THERE: Final = (
    "select from pg_catalog.pg_constraint"
    " where conrelid = pg_catalog.to_regclass(%s) and conname = %s"
)


def build(
    target: Endpoint,
    statistics: SourceStatistics | None,
    session: Session,
    jobs: Sequence[Job],
    repeated: bool,
) -> None:
    """Do jobs of the pool BUILD: their steps in one transaction, then the upkeep of each table.

    ``statistics`` is where planned statistics are taken from. With ``repeated`` what is there
    already is left as it is. Raises the target's error or SqlError, naming the table when there is
    only one.
    """
    builds = [msgspec.json.decode(job.parameters, type=Build) for job in jobs]
    steps = [step for one in builds for step in one.steps]
    doing = f"building indexes and constraints of {_tables_of(jobs)}"
    with reporting(target, doing):
        if repeated:
            steps = [step for step in steps if not is_there(session, step)]
        run_steps(session, steps)
    upkeep = [(job, one.upkeep) for job, one in zip(jobs, builds, strict=True)]
    for job, one in upkeep:
        _execute(target, session, one.vacuum, job)
    known = _taken_over(statistics, session, upkeep)
    for job, one in upkeep:
        if job.oid not in known:
            _execute(target, session, one.analyze, job)


def count_database(target: Endpoint, facts: ServerFacts, options: CopyOptions) -> None:
    """Do once what each VACUUM of a table was told to leave out; raises the target's error."""
    if options.skip_vacuum or not may_skip_database(facts):
        return
    with (
        short_session(target, purpose="vacuum") as session,
        reporting(target, "vacuuming (only the database's own counts)"),
    ):
        session.execute(COUNT_DATABASE)


def _execute(target: Endpoint, session: Session, statement: str | None, job: Job) -> None:
    if statement is None:
        return
    with reporting(target, f"vacuuming {_tables_of([job])}"):
        session.execute(statement.encode())


def _taken_over(
    statistics: SourceStatistics | None, session: Session, upkeep: Sequence[tuple[Job, Upkeep]]
) -> Collection[int]:
    """Return the tables that have the source's statistics now, by oid."""
    wanted = {
        job.oid: one.is_counted
        for job, one in upkeep
        if one.may_be_taken_over and job.oid is not None
    }
    return statistics.take_over(session, wanted) if wanted and statistics is not None else ()


def run_steps(session: Session, steps: Sequence[Step]) -> None:
    """Run the statements of ``steps`` as one transaction in one round trip."""
    statements = [statement for step in steps for statement in step.statements]
    if statements:
        session.execute("; ".join(("begin", *statements, "commit")).encode())


def is_there(session: Session, step: Step) -> bool:
    """Tell whether the object that ``step`` makes is on the target, valid."""
    if step.index is not None:
        return session.execute(_INDEX_IS_THERE, (qualified_name(*step.index),)).rowcount > 0
    if step.constraint is not None:
        schema, table, name = step.constraint
        found = session.execute(_CONSTRAINT_IS_THERE, (qualified_name(schema, table), name))
        return found.rowcount > 0
    return False


def _tables_of(jobs: Sequence[Job]) -> str:
    return some_of([f"{job.schema}.{job.name}" for job in jobs], 1)
