"""Log sequence numbers: positions in the write-ahead log, as integers of bytes.

PostgreSQL prints a position as two hexadecimal halves, ``16/B374D848`` (manual, "pg_lsn Type").
Inside this program a position is a plain ``int``; text exists only at the edges.
"""

import re

_TEXT = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")

LAST_STORED = (1 << 63) - 1
"""The last position that SQLite, whose integers are signed, can hold: eight exabytes of log."""


def parse_lsn(text: str) -> int:
    """Return the position written as ``text``; raise ValueError unless it is one."""
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text}" is not a log position: expected a form like 16/B374D848')
    high, low = match.groups()
    lsn = (int(high, 16) << 32) | int(low, 16)
    if lsn > LAST_STORED:
        raise ValueError(f'"{text}" is beyond {format_lsn(LAST_STORED)}, where no log reaches')
    return lsn


def format_lsn(lsn: int) -> str:
    """Return ``lsn`` as PostgreSQL prints it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
