#!/usr/bin/env python3
"""Make a virtual environment that has pip, on a machine where nothing but Python can be counted on.

    scripts/bootstrap.py DIRECTORY

Debian's Python has neither pip nor ensurepip until more packages are installed, which takes root.
So these ways are tried in turn, and the first that works ends it:

1. the standard library's ensurepip;
2. a pip that this Python already has;
3. the pip wheel of the package index that pip is configured for (PIP_INDEX_URL, PIP_FIND_LINKS,
   pip.conf), checked against the hash that the index gives;
4. the pip wheel of Debian's package python3-pip-whl, fetched and unpacked without being installed.

Only the standard library is used. An environment that already has pip is left as it is.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import venv
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

OLDEST_PYTHON = (3, 11)
WHEEL = re.compile(r"pip-(\d+(?:\.\d+)*)-py3-none-any\.whl$")


class NotPossibleError(Exception):
    """This way does not work on this machine, and why."""


def main(arguments: list[str]) -> int:
    """Make the environment; return the exit status."""
    if sys.version_info < OLDEST_PYTHON:
        return complain(f"Python 3.11 or newer is needed, and this is {sys.version.split()[0]}")
    if len(arguments) != 1:
        return complain("usage: bootstrap.py DIRECTORY")
    directory = Path(arguments[0])
    python = directory / "bin" / "python"
    if has_pip(python):
        return 0
    reasons = []
    for way in WAYS:
        try:
            way(directory, python)
        except NotPossibleError as error:
            reasons.append(f"{(way.__doc__ or '').splitlines()[0]} {error}")
            continue
        return 0
    return complain(
        "no way to get pip into the virtual environment:",
        *(f"  {reason}" for reason in reasons),
        "Install python3-venv, or set PIP_INDEX_URL to a package index.",
    )


def complain(*lines: str) -> int:
    """Print what is wrong; return the exit status for it."""
    sys.stderr.writelines(f"bootstrap: {line}\n" for line in lines)
    return 1


def has_pip(python: Path) -> bool:
    """Tell whether an interpreter is there and can run pip."""
    return python.exists() and run([python, "-m", "pip", "--version"]).returncode == 0


def run(
    command: Sequence[str | Path], *, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with its output kept."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def last_line(finished: subprocess.CompletedProcess[str]) -> str:
    """Return the last line of what a program had to say, which is its reason to fail."""
    lines = (finished.stderr.strip() or finished.stdout.strip() or "failed").splitlines()
    return lines[-1]


def with_ensurepip(directory: Path, python: Path) -> None:
    """The standard library's ensurepip:"""
    finished = run([sys.executable, "-m", "venv", "--clear", directory])
    if finished.returncode != 0 or not has_pip(python):
        raise NotPossibleError("this Python comes without it")


def with_existing_pip(directory: Path, python: Path) -> None:
    """A pip that is there already:"""
    if run([sys.executable, "-m", "pip", "--version"]).returncode != 0:
        raise NotPossibleError("there is none")
    make_bare(directory)
    finished = run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "pip"])
    if finished.returncode != 0:
        raise NotPossibleError(last_line(finished))


def with_configured_index(directory: Path, python: Path) -> None:
    """The configured package index:"""
    pages = list(configured_pages())
    if not pages:
        raise NotPossibleError("none is configured")
    make_bare(directory)
    with tempfile.TemporaryDirectory() as temporary:
        reasons = []
        for page in pages:
            try:
                install_wheel(download_pip(page, Path(temporary)), python)
            except (OSError, NotPossibleError) as error:
                reasons.append(f"{without_password(page)}: {error}")
            else:
                return
    raise NotPossibleError("; ".join(reasons))


def with_debian_package(directory: Path, python: Path) -> None:
    """Debian's package python3-pip-whl:"""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise NotPossibleError("this is not Debian")
    make_bare(directory)
    with tempfile.TemporaryDirectory() as temporary:
        install_wheel(debian_wheel(Path(temporary)), python)


WAYS: list[Callable[[Path, Path], None]] = [
    with_ensurepip,
    with_existing_pip,
    with_configured_index,
    with_debian_package,
]


def make_bare(directory: Path) -> None:
    """Make the environment without pip."""
    venv.create(directory, clear=True, symlinks=True, with_pip=False)


def install_wheel(wheel: Path, python: Path) -> None:
    """Let the pip in a wheel install itself: a wheel is a zip file, from which Python can run."""
    finished = run([python, wheel / "pip", "install", "--quiet", "--no-index", wheel])
    if finished.returncode != 0:
        raise NotPossibleError(last_line(finished))


def debian_wheel(directory: Path) -> Path:
    """Fetch and unpack Debian's package of the pip wheel; apt checks its signature.

    The machine's package lists may be missing, and renewing them takes root, so a private copy of
    apt's state is made when the first attempt fails.
    """
    private = [
        f"-oDir::State={directory / 'state'}",
        "-oDir::State::status=/var/lib/dpkg/status",
        f"-oDir::Cache={directory / 'cache'}",
    ]
    # apt's own unprivileged user could not write here.
    command = ["apt-get", "-oAPT::Sandbox::User=root"]
    finished = run([*command, "download", "python3-pip-whl"], cwd=directory)
    if finished.returncode != 0:
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (directory / folder).mkdir(parents=True)
        run([*command, *private, "update"], cwd=directory)
        finished = run([*command, *private, "download", "python3-pip-whl"], cwd=directory)
    packages = list(directory.glob("python3-pip-whl*.deb"))
    if not packages:
        raise NotPossibleError(last_line(finished))
    run(["dpkg-deb", "-x", packages[0], directory / "unpacked"])
    return next((directory / "unpacked").rglob("pip-*.whl"))


def configured_pages() -> Iterator[str]:
    """Yield the addresses of the pages that may list pip's wheels, most wanted first."""
    settings = pip_settings()
    for name in ("index-url", "extra-index-url"):
        for index in settings.get(name, "").split():
            yield index.rstrip("/") + "/pip/"
    for place in settings.get("find-links", "").split():
        yield place if "://" in place else Path(place).absolute().as_uri() + "/"


def pip_settings() -> dict[str, str]:
    """Return pip's settings, from its files and then from the environment, which wins."""
    home = Path.home()
    files = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        Path(os.environ.get("XDG_CONFIG_HOME", home / ".config")) / "pip" / "pip.conf",
        Path(os.environ.get("PIP_CONFIG_FILE", os.devnull)),
    ]
    parser = configparser.RawConfigParser()
    parser.read(files)
    settings: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            settings |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    for name, value in os.environ.items():
        if name.startswith("PIP_") and value:
            settings[name[4:].lower().replace("_", "-")] = value
    return settings


class Links(HTMLParser):
    """Collects the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the target of an anchor, unless the index has withdrawn the file."""
        attributes = dict(attrs)
        target = attributes.get("href")
        if tag == "a" and target and "data-yanked" not in attributes:
            self.found.append(target)


def download_pip(page: str, directory: Path) -> Path:
    """Download the newest pip wheel that a page lists, and check its hash."""
    found: list[tuple[tuple[int, ...], str]] = []
    for link in links_of(page):
        match = WHEEL.search(urllib.parse.urlsplit(link).path)
        if match:
            found.append((tuple(map(int, match[1].split("."))), link))
    if not found:
        raise NotPossibleError("no pip there")
    address, _, fragment = max(found)[1].partition("#")
    content = fetch(address)
    algorithm, _, expected = fragment.partition("=")
    known = algorithm in hashlib.algorithms_available
    if known and hashlib.new(algorithm, content).hexdigest() != expected:
        raise NotPossibleError("the pip wheel does not match the hash that the index gives")
    wheel = directory / Path(urllib.parse.urlsplit(address).path).name
    wheel.write_bytes(content)
    return wheel


def links_of(page: str) -> list[str]:
    """Return the addresses of the files that a page of an index, or a folder, names."""
    parts = urllib.parse.urlsplit(page)
    if parts.scheme == "file":
        folder = Path(urllib.request.url2pathname(parts.path))
        if not (folder / "index.html").exists():
            return [path.as_uri() for path in folder.glob("*.whl")]
        page = folder.as_uri() + "/index.html"
    parser = Links()
    parser.feed(fetch(page).decode("utf-8", "replace"))
    return [urllib.parse.urljoin(page, link) for link in parser.found]


def fetch(address: str) -> bytes:
    """Return what is at an address, which may hold a name and a password, with pip's CA file."""
    parts = urllib.parse.urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    # S310: whoever runs this chose the index, and an index may be a local folder.
    request = urllib.request.Request(parts._replace(netloc=host).geturl())  # noqa: S310
    if parts.username:
        pair = urllib.parse.unquote(f"{parts.username}:{parts.password or ''}")
        request.add_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    context = ssl.create_default_context(cafile=pip_settings().get("cert"))
    with urllib.request.urlopen(request, timeout=60, context=context) as response:  # noqa: S310
        content: bytes = response.read()
    return content


def without_password(address: str) -> str:
    """Return an address as it may be shown."""
    parts = urllib.parse.urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
