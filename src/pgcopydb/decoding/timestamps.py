"""Commit times: as PostgreSQL prints them, as its protocol counts them, as changes carry them.

A change carries microseconds since 1970-01-01 UTC (``model.changes``). The text is what
``DateStyle = ISO`` prints, in whatever time zone the session has, as the offset is part of it.
"""

import re
from datetime import UTC, datetime, timedelta

MICROSECONDS_FROM_1970_TO_2000 = 946_684_800_000_000
"""PostgreSQL's protocol counts from 2000-01-01 UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TEXT = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,6}))?([+-])(\d\d)(?::?(\d\d))?(?::?(\d\d))?"
)


class TimestampReader:
    """Parse timestamps that mostly share their second with the one before."""

    __slots__ = ("_seconds", "_seen")

    def __init__(self) -> None:
        self._seen = ""
        self._seconds = 0

    def microseconds(self, text: str) -> int:
        """Return ``text`` (``2026-11-23 17:52:40.519701+00``) as microseconds since 1970.

        Raise ValueError unless it is an ISO timestamp with an offset.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f'"{text}" is not an ISO timestamp with an offset')
        whole, fraction, sign, hours, minutes, seconds = match.groups()
        micro = int(fraction.ljust(6, "0")) if fraction else 0
        if whole != self._seen:
            moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
            self._seconds = (moment - _EPOCH) // _MICROSECOND
            self._seen = whole
        offset = int(hours) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
        return self._seconds + micro - (offset if sign == "+" else -offset) * 1_000_000


def format_microseconds(microseconds: int) -> str:
    """Return microseconds since 1970 as PostgreSQL prints a timestamptz in time zone UTC.

    Raise OverflowError for a moment outside the years 1 to 9999.
    """
    moment = _EPOCH + microseconds * _MICROSECOND
    text = f"{moment:%Y-%m-%d %H:%M:%S}".rjust(19, "0")
    if moment.microsecond:
        text = f"{text}.{moment.microsecond:06d}".rstrip("0")
    return text + "+00"
