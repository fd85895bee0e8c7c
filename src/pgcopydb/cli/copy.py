"""``pgcopydb copy``: a base copy whole, or one phase of it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pgcopydb.cli.command import CommandGroup, command
from pgcopydb.cli.groups import (
    COPY,
    COPY_DATA,
    COPY_EXTENSIONS,
    COPY_INDEXES,
    COPY_LARGE_OBJECTS,
    COPY_ROLES,
    COPY_SCHEMA,
    COPY_SEQUENCES,
    COPY_TABLE_DATA,
    SOURCE,
    TARGET,
    WORK,
)
from pgcopydb.cli.phase import run_phase
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions, WorkOptions

if TYPE_CHECKING:
    from pgcopydb.model.results import CloneSummary, PhaseSummary
    from pgcopydb.workdir.directory import WorkDirectory

_SIDES = (SOURCE, TARGET, WORK)


def _run(
    command: str,
    make: "Callable[[WorkDirectory, Endpoint, Endpoint, CopyOptions], CloneSummary | PhaseSummary]",
    work: WorkOptions,
    copy: CopyOptions,
    *,
    source: Endpoint,
    target: Endpoint,
    lanes: bool = False,
) -> None:
    """Run one phase from the source to the target; see :func:`run_phase`."""
    run_phase(
        command,
        work,
        lambda here: make(here, source, target, copy),
        source,
        target,
        lanes=lanes,
    )


@command("db", *_SIDES, COPY)
def db(*, source: Endpoint, target: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Copy a whole database: the same as 'pgcopydb clone' without --follow."""
    from pgcopydb.online import clone

    run_phase("copy db", work, lambda here: clone(here, source, target, copy), lanes=True)


@command("roles", *_SIDES, COPY_ROLES)
def roles(*, source: Endpoint, target: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Create the source's roles that the target lacks, with their settings and memberships.

    Roles belong to the whole server. One that is there already is kept as it is. Passwords, as
    the hashes that the source keeps, are read by superusers only.
    """
    from pgcopydb.clone.roles import copy_roles

    run_phase("copy roles", work, lambda _: copy_roles(source, target, copy), source, target)


@command("extensions", *_SIDES, COPY_EXTENSIONS)
def extensions(*, source: Endpoint, target: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Create the extensions that the target lacks, and copy what users put into their tables."""
    from pgcopydb.clone.extensions import copy_extensions

    _run("copy extensions", copy_extensions, work, copy, source=source, target=target)


@command("schema", *_SIDES, COPY_SCHEMA)
def schema(*, source: Endpoint, target: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Create all objects of the source on the target, without any data.

    The same as 'dump schema' and then 'restore schema'. Indexes, constraints and triggers are made
    too: where rows are to follow, 'restore pre-data', 'copy data' and 'restore post-data' are
    faster.
    """
    from pgcopydb.clone.schema_phases import copy_schema

    _run("copy schema", copy_schema, work, copy, source=source, target=target)


@command("data", *_SIDES, COPY_DATA)
def data(*, source: Endpoint, target: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Copy the data into tables that are there: what clone does between pre-data and post-data.

    The same as 'copy table-data', 'copy blobs', 'copy indexes', 'copy constraints' and 'copy
    sequences', at the same time where that is possible.
    """
    from pgcopydb.clone.phases import copy_data

    _run("copy data", copy_data, work, copy, source=source, target=target, lanes=True)


@command("table-data", *_SIDES, COPY_TABLE_DATA)
def table_data(*, source: Endpoint, target: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Copy the rows of all tables into tables that are there, and empty."""
    from pgcopydb.clone.phases import copy_table_data

    _run("copy table-data", copy_table_data, work, copy, source=source, target=target, lanes=True)


@command("blobs", *_SIDES, COPY_LARGE_OBJECTS)
def blobs(*, source: Endpoint, target: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Copy the large objects that the target lacks, with their owners and privileges.

    With --drop-if-exists those that are there are replaced.
    """
    from pgcopydb.clone.phases import copy_large_objects

    _run("copy blobs", copy_large_objects, work, copy, source=source, target=target)


@command("sequences", *_SIDES, COPY_SEQUENCES)
def sequences(*, source: Endpoint, target: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Set the target's sequences to where the source's stand now.

    May be repeated. A sequence that is further on the target stays where it is.
    """
    from pgcopydb.clone.phases import copy_sequences

    _run("copy sequences", copy_sequences, work, copy, source=source, target=target)


@command("indexes", *_SIDES, COPY_INDEXES)
def indexes(*, source: Endpoint, target: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Build all indexes of the source on the target, those of key constraints among them."""
    from pgcopydb.clone.phases import copy_indexes

    _run("copy indexes", copy_indexes, work, copy, source=source, target=target)


@command("constraints", *_SIDES, COPY_INDEXES)
def constraints(
    *, source: Endpoint, target: Endpoint, work: WorkOptions, copy: CopyOptions
) -> None:
    """Create all key, exclusion and foreign key constraints; the indexes must be there."""
    from pgcopydb.clone.phases import copy_constraints

    _run("copy constraints", copy_constraints, work, copy, source=source, target=target)


copy_ = CommandGroup(
    "copy",
    help="Copy a database, or one phase of it.",
    commands=[
        db,
        roles,
        extensions,
        schema,
        data,
        table_data,
        blobs,
        sequences,
        indexes,
        constraints,
    ],
)
