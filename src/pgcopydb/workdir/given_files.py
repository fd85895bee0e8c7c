"""Files that the user writes and an option names: filters, and the versions of extensions."""

from functools import cache
from pathlib import Path
from typing import Final

from pgcopydb.errors import ConfigurationError

_LONGEST: Final = 64 << 20
"""Bytes that such a file may have; a device may have no end."""


def read_given(path: Path, *, what: str, option: str) -> bytes:
    """Return the content of the file that ``option`` names, the same each time it is asked for.

    What is no file, as the pipe of ``--filters <(...)``, is read once: it would be empty the second
    time, and a file without filters takes everything. Raises ConfigurationError naming ``what``.
    """
    hint = f"name an existing file with {option}"
    try:
        content = _read(path) if path.is_file() else _read_once(path)
    except OSError as error:
        raise ConfigurationError(
            f"the {what} {path} cannot be read: {error.strerror}", hint=hint
        ) from None
    if len(content) > _LONGEST:
        raise ConfigurationError(
            f"the {what} {path} cannot be read: there are more than {_LONGEST >> 20} MB", hint=hint
        )
    return content


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LONGEST + 1)


_read_once = cache(_read)
