"""Extensions: created before the schema that uses them, filled before the rows are copied."""

import logging
from collections.abc import Sequence
from time import time

from pgcopydb.clone.context import Copying, Restoring
from pgcopydb.clone.prepare import prepare_phase
from pgcopydb.clone.requirements import required_versions
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Extension
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.results import PhaseSummary, StepSummary
from pgcopydb.postgres import discover, extensions
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.snapshot import HeldSnapshot, exported_snapshot
from pgcopydb.runtime import signals
from pgcopydb.workdir.directory import WorkDirectory

log = logging.getLogger(__name__)


def copy_extensions(
    work: WorkDirectory, source: Endpoint, target: Endpoint, copy: CopyOptions
) -> PhaseSummary:
    """Create the extensions that the target lacks, with the rows that users put into them."""
    with signals.stop_on_signals():
        required_versions(copy)
        copying = prepare_phase(work, source, target, copy)
        started = time()
        with exported_snapshot(copying.source, copy.snapshot or copying.header.snapshot) as held:
            with reporting(copying.source, "reading the extensions"):
                wanted = [
                    one
                    for one in discover.list_extensions(held.connection)
                    if copying.filters.selects_extension(one.name)
                ]
            created = create(copying, wanted)
            rows = fill(copying, held)
    changed = f": {', '.join(created)}" if created else ""
    return PhaseSummary(
        done=(f"{len(created):,} extensions created or changed{changed}", f"{rows:,} rows copied"),
        steps=(StepSummary(name="extensions", started=started, finished=time()),),
    )


def create(run: Restoring, wanted: Sequence[Extension]) -> list[str]:
    """Create those of ``wanted`` that the target lacks, in the versions that are required."""
    versions = required_versions(run.options)
    with connect(run.target, purpose="extensions") as session:
        return extensions.create_extensions(run.target, session, wanted, versions)


def fill(copying: Copying, held: HeldSnapshot) -> int:
    """Copy the rows that users put into the tables of extensions, as the snapshot shows them."""
    if copying.options.skip_extensions:
        return 0
    source, target = copying.source, copying.target
    wanted = [
        one
        for one in extensions.configurations(source, held.connection)
        if copying.filters.selects_extension(one.extension)
    ]
    if not wanted:
        return 0
    with connect(target, purpose="extensions") as session:
        rows = extensions.copy_configurations(wanted, source, held.connection, target, session)
    if rows:
        log.info("copied %d rows into tables of extensions", rows)
    return rows
