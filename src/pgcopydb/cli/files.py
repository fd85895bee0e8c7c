"""Files that options name: read at once, so that a malformed one is refused before all else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from pgcopydb.cli.types import PATH, ParamType


class _Legible(ParamType):
    """The path of a file that ``read`` makes sense of, or raises ConfigurationError about."""

    name = PATH.name

    def __init__(self, read: Callable[[Path], object]) -> None:
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; what the file says is read again by whoever needs it."""
        path = PATH.convert(value, param, ctx)
        self._read(path)
        return path


def _read_filters(path: Path) -> object:
    from pgcopydb.workdir.filters import read_filters

    return read_filters(path)


def _read_requirements(path: Path) -> object:
    from pgcopydb.clone.requirements import read_requirements

    return read_requirements(path)


FILTERS_FILE: Final = _Legible(_read_filters)
REQUIREMENTS_FILE: Final = _Legible(_read_requirements)
