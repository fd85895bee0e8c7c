"""Restores chosen entries of an archive with pg_restore, and lists what is in one."""

import os
import re
from collections.abc import Callable, Container, Iterable
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final

from pgcopydb.errors import ConfigurationError
from pgcopydb.model.access import ChildAccess, without_libpq
from pgcopydb.model.options import CopyOptions
from pgcopydb.pgtools.files import write_private
from pgcopydb.pgtools.find import Tools
from pgcopydb.pgtools.process import Finished, run_tool
from pgcopydb.rules.toc import TocEntry, parse_list, render_list

_HARMLESS = re.compile(r'unrecognized configuration parameter "transaction_timeout"')
_IGNORED = re.compile(r"warning: errors ignored on restore: ")
_STAMP = re.compile(r"^.*ALTER COLUMN .* SET \((?:.*, )?pg_attver=\d+.*\);$", re.MULTILINE)

# pg_restore 17 and later set transaction_timeout, which servers before 17 do not have.
_SETS_TRANSACTION_TIMEOUT: Final = 17

_SMALL: Final = 8 << 20
"""Bytes of an archive whose lists are kept, in place of being printed once more for each step that
asks: 5,000 tables. Those of 100,000 are of 10 to 40 MB each, which would be held until the command
ends, and take 1.3 to 2.4 s."""


class Section(StrEnum):
    """The parts of an archive that a schema is restored in: before and after the data."""

    PRE_DATA = "pre-data"
    POST_DATA = "post-data"


def list_archive(
    tools: Tools,
    archive: Path,
    *,
    section: Section | None = None,
    schemas: Iterable[str] = (),
    owners: Iterable[str] = (),
    dependencies: bool = False,
    only: Container[int] | None = None,
    keep: Callable[[TocEntry], bool] = lambda _: True,
) -> list[TocEntry]:
    """Return what is in ``archive``, in the order of restoring, all or one section of it.

    With ``dependencies`` the entries tell what they depend on. ``schemas``, ``owners``, ``only``
    and ``keep`` are as ``rules.toc.parse_list`` takes them. Raises ExternalToolError.
    """
    chosen = [f"--section={section}"] if section else []
    if dependencies:
        chosen.append("--verbose")
    return parse_list(
        _listing(tools.pg_restore, archive, tuple(chosen)),
        schemas=schemas,
        owners=owners,
        only=only,
        keep=keep,
    )


def _listing(pg_restore: Path, archive: Path, chosen: tuple[str, ...]) -> str:
    there = archive.stat() if archive.exists() else None
    if there is None or there.st_size > _SMALL:
        return _list(pg_restore, archive, chosen)
    return _small_listing(pg_restore, archive, chosen, there.st_mtime_ns)


@lru_cache(maxsize=4)
def _small_listing(pg_restore: Path, archive: Path, chosen: tuple[str, ...], _written: int) -> str:
    """Return the list of an archive as it was ``_written``; several steps ask."""
    return _list(pg_restore, archive, chosen)


def _list(pg_restore: Path, archive: Path, chosen: tuple[str, ...]) -> str:
    arguments: list[str | Path] = [pg_restore, "--list", *chosen, archive]
    done = run_tool(arguments, without_libpq(os.environ))
    if done.status != 0:
        raise done.error()
    return done.output


def check_archive(tools: Tools, archive: Path) -> None:
    """Raise ConfigurationError when pg_dump wrote what no server takes back.

    Some builds of PostgreSQL stamp columns with an option ``pg_attver`` that only their own
    pg_dump knows to leave out.
    """
    arguments: list[str | Path] = [tools.pg_restore, "--section=pre-data", "--file=-", archive]
    done = run_tool(arguments, without_libpq(os.environ))
    if done.status != 0:
        raise done.error()
    if _STAMP.search(done.output):
        major, minor = tools.pg_dump_version
        raise ConfigurationError(
            f"the source marks its columns with pg_attver, which pg_dump {major}.{minor} "
            "copies and no target accepts",
            hint="put the pg_dump that came with the source server first in PATH",
        )


def restore_entries(
    tools: Tools,
    access: ChildAccess,
    archive: Path,
    *,
    entries: Iterable[TocEntry],
    list_file: Path,
    target_version_num: int,
    options: CopyOptions | None = None,
    jobs: int = 1,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Restore ``entries`` of the archive into the target; nothing else of it.

    ``list_file`` is where the chosen list is kept. Every error of the target ends the restore and
    raises ExternalToolError, except the one that a newer pg_restore makes by itself on servers
    before 17. Without entries nothing is run.
    """
    text = render_list(entries)
    if not text:
        return
    write_private(list_file, text)
    tolerant = (
        tools.pg_restore_version[0] >= _SETS_TRANSACTION_TIMEOUT
        and target_version_num // 10000 < _SETS_TRANSACTION_TIMEOUT
    )
    arguments: list[str | Path] = [
        tools.pg_restore,
        f"--dbname={access.conninfo}",
        "--no-password",
        # Not --section as well: what belongs to none, a comment or a privilege, would be taken for
        # the section of whatever entry comes before the list.
        f"--use-list={list_file}",
        f"--jobs={jobs}",
        *([] if tolerant else ["--exit-on-error"]),
        *_flags(options or CopyOptions()),
        archive,
    ]
    done = run_tool(arguments, access.environment, stopping=stopping)
    if done.status != 0 and not (tolerant and _only_harmless(done)):
        raise _without_harmless(done).error()


def _flags(options: CopyOptions) -> list[str]:
    chosen = {
        "--no-owner": options.no_owner,
        "--no-acl": options.no_acl,
        "--no-comments": options.no_comments,
        "--no-tablespaces": options.no_tablespaces,
        "--clean": options.drop_if_exists,
        "--if-exists": options.drop_if_exists,
    }
    return [flag for flag, wanted in chosen.items() if wanted]


def _only_harmless(done: Finished) -> bool:
    """Tell whether pg_restore came to its end and every error on the way was the harmless one.

    With several jobs its count says less than the lines: not every job's errors are counted.
    """
    errors = [line for line in done.complaints if "error:" in line]
    ended = any(_IGNORED.search(line) for line in done.complaints)
    return ended and all(_HARMLESS.search(line) for line in errors)


def _without_harmless(done: Finished) -> Finished:
    kept = tuple(line for line in done.complaints if not _HARMLESS.search(line))
    return Finished(done.program, done.status, done.output, kept)
