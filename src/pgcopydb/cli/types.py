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
COUNT_OR_ZERO: Final = _Parsed("count", parse_count_or_zero)
SECONDS: Final = _Parsed("seconds", parse_seconds)
PATH: Final = _Parsed("path", parse_path)
PLACE: Final = _Parsed("path", parse_place)
