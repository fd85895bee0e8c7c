"""The kinds of values that options take, beyond text and numbers."""

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from pgcopydb.lsn import parse_lsn

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic in newer versions of click only

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", re.IGNORECASE)

_LONGEST: Final = 9
"""Digits of a count: nothing that is counted here comes near to a thousand million."""

_LONGEST_NAME: Final = 63
"""Bytes that servers keep of an identifier."""

_LONGEST_ORIGIN: Final = 512
"""Bytes that servers from 18 on take as the name of a replication origin."""

_SLOT_NAME: Final = re.compile(rf"[a-z0-9_]{{1,{_LONGEST_NAME}}}")
_SNAPSHOT: Final = re.compile(r"[0-9A-F]+(-[0-9A-F]+)+")

_MOST_JOBS: Final = 1000

_LARGEST: Final = (1 << 63) - 1
"""Bytes: what a 64-bit number holds, and more than any disk."""

_UNITS: Final = {
    "": 1,
    "b": 1,
    "bytes": 1,
    "kb": 1 << 10,
    "mb": 1 << 20,
    "gb": 1 << 30,
    "tb": 1 << 40,
    "pb": 1 << 50,
}
"""PostgreSQL's units: powers of 1024, in either case (manual, pg_size_bytes)."""


class _Parsed(ParamType):
    """Text that a function turns into a value, or refuses with a ValueError that says why."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value of an option's text; fail with one line when it has none."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` names, such as ``200 MB``; raise ValueError if it does not."""
    match = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(match.group(2).lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f'"{text}" is not a size: expected a form like 1GB or "200 MB"')
    size = float(match.group(1)) * unit
    if not 1 <= size < _LARGEST:
        raise ValueError(f'"{text}" is not a size above zero and below 8192 PB')
    return int(size)


def parse_count(text: str) -> int:
    """Return the whole number above zero that ``text`` is; raise ValueError if it is none."""
    if not _is_number(text) or int(text) == 0:
        raise ValueError(f'"{text}" is not a whole number above zero')
    return int(text)


def parse_jobs(text: str) -> int:
    """Return how many shall work at the same time; raise ValueError for what no machine bears.

    Each is a process, or a thread, and a session on either server.
    """
    jobs = parse_count(text)
    if jobs > _MOST_JOBS:
        raise ValueError(f'"{text}" is more than {_MOST_JOBS} at the same time')
    return jobs


def parse_count_or_zero(text: str) -> int:
    """Return the whole number that ``text`` is, zero or more; raise ValueError if it is none."""
    if not _is_number(text):
        raise ValueError(f'"{text}" is not a whole number')
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST


def parse_seconds(text: str) -> float:
    """Return the seconds that ``text`` names, zero or more; raise ValueError if it does not."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f'"{text}" is not a number of seconds')
    return seconds


def parse_path(text: str) -> Path:
    """Return ``text`` as a path; raise ValueError when it is empty.

    An empty one usually is a shell variable that is not set, and would mean the current directory.
    """
    if not text:
        raise ValueError("the path is empty")
    return Path(text)


def parse_place(text: str) -> Path | Literal["-"]:
    """Return ``text`` as a path, or as the sign for stdin and stdout; raise as parse_path does."""
    return "-" if text == "-" else parse_path(text)


def parse_slot_name(text: str) -> str:
    """Return the name of a replication slot; raise ValueError for one that no server takes."""
    if not _SLOT_NAME.fullmatch(text):
        raise ValueError(
            f'"{text}" is no name of a slot: expected are 1 to {_LONGEST_NAME} lower case letters,'
            " digits and underscores"
        )
    return text


def parse_name(text: str) -> str:
    """Return an SQL identifier; raise ValueError when it is empty, or would be cut off."""
    return _of_length(text, _LONGEST_NAME)


def parse_origin(text: str) -> str:
    """Return the name of a replication origin; raise ValueError for one that no server takes."""
    if text.lower() in {"none", "any"} or text.startswith("pg_"):
        raise ValueError(f'"{text}" is reserved: none, any, and what begins with pg_')
    return _of_length(text, _LONGEST_ORIGIN)


def parse_snapshot(text: str) -> str:
    """Return the identifier of an exported snapshot; raise ValueError for what looks like none."""
    if not _SNAPSHOT.fullmatch(text):
        raise ValueError(f'"{text}" is no snapshot: expected a form like 00000003-0000001B-1')
    return text


def _of_length(text: str, longest: int) -> str:
    if not text:
        raise ValueError("the name is empty")
    if len(text.encode("utf-8", "surrogateescape")) > longest:
        raise ValueError(f'"{text[:20]}..." is longer than {longest} bytes')
    if not text.isprintable():
        raise ValueError(f"{text!a} has characters that cannot be printed")
    return text


def one_of(choices: type[StrEnum]) -> ParamType:
    """Return the type of an option that takes one of the values of ``choices``."""

    def parse(text: str) -> StrEnum:
        try:
            return choices(text)
        except ValueError:
            raise ValueError(f'"{text}" is none of {", ".join(choices)}') from None

    return _Parsed("choice", parse)


LSN: Final = _Parsed("lsn", parse_lsn)
SIZE: Final = _Parsed("size", parse_size)
COUNT: Final = _Parsed("count", parse_count)
AT_ONCE: Final = _Parsed("count", parse_jobs)
SLOT: Final = _Parsed("slot", parse_slot_name)
NAME: Final = _Parsed("name", parse_name)
ORIGIN_NAME: Final = _Parsed("origin", parse_origin)
SNAPSHOT_ID: Final = _Parsed("snapshot", parse_snapshot)
COUNT_OR_ZERO: Final = _Parsed("count", parse_count_or_zero)
SECONDS: Final = _Parsed("seconds", parse_seconds)
PATH: Final = _Parsed("path", parse_path)
PLACE: Final = _Parsed("path", parse_place)
