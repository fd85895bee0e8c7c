"""Large objects, of which no stream tells: compared when everything else is applied (ruling 25)."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import psycopg

from pgcopydb.errors import StateError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.large_object_digests import paired_large_objects
from pgcopydb.postgres.snapshot import begin_reading
from pgcopydb.runtime import signals
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.store import LARGE_OBJECTS_COPIED, read_fact, write_fact

log = logging.getLogger(__name__)

_SHOWN: Final = 5


def skip_large_objects(work: WorkDirectory) -> None:
    """Leave the large objects of the target as they are, whatever the copy did with them."""
    with work.store() as store:
        write_fact(store, LARGE_OBJECTS_COPIED, False)


def refuse_changed_large_objects(work: WorkDirectory, source: Endpoint, target: Endpoint) -> None:
    """Raise StateError naming large objects that changed on the source since they were copied.

    To be called when the source's writers have stopped. Does nothing for a migration that was not
    to bring large objects. Reads all of them on both sides, which takes as long as they are large.
    """
    with work.store() as store:
        copied = read_fact(store, LARGE_OBJECTS_COPIED, bool)
    if not copied:
        return
    different: list[int] = []
    count = 0
    with _reading(source) as ours, _reading(target) as theirs:
        pairs = paired_large_objects(ours, source, theirs, target, look=signals.raise_if_stopped)
        for here, there in pairs:
            one = here or there
            assert one is not None
            different += [one.oid] if here != there and len(different) < _SHOWN else []
            count += here != there
    if not count:
        return
    more = f" and {count - len(different)} more" if count > len(different) else ""
    raise StateError(
        "large objects changed on the source since they were copied, and no stream carries that:"
        f" {', '.join(map(str, different))}{more}",
        hint="everything else is applied: bring them to the target ('pgcopydb compare data' names"
        " all of them), then run again with --resume; or leave them with --skip-large-objects",
    )


@contextmanager
def _reading(endpoint: Endpoint) -> Iterator[psycopg.Connection[Any]]:
    """Give a session that sees one moment of the database."""
    with closing(connect(endpoint, purpose="final check")) as connection:
        begin_reading(endpoint, connection)
        yield connection
