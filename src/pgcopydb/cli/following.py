"""What the commands that receive or apply have around them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pgcopydb.model.options import CopyOptions, WorkOptions

if TYPE_CHECKING:
    from pgcopydb.cdc.follow import Observe
    from pgcopydb.workdir.directory import WorkDirectory


@contextmanager
def following(
    command: str, work: WorkOptions, copy: CopyOptions
) -> "Iterator[tuple[WorkDirectory, Observe | None]]":
    """Give the work directory, opened under the command's name, and who watches the progress.

    To be entered when the use-case is imported, so that its workers need not import it again, and
    before anything is opened. Filters given now must be those that the migration began with.
    """
    from pgcopydb.cli.live import live_line
    from pgcopydb.runtime.fork_server import prepare
    from pgcopydb.workdir.directory import open_directory
    from pgcopydb.workdir.filters import effective_filters

    prepare()
    with open_directory(work, command=command) as directory, live_line() as observe:
        effective_filters(directory, copy.filters)
        yield directory, observe
