"""One side of a migration: which server, and whose fault it is when something fails there."""

from dataclasses import dataclass, field
from enum import StrEnum

from pgcopydb.errors import PgcopydbError, SourceError, TargetError


class Side(StrEnum):
    """The two servers of a migration."""

    SOURCE = "source"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server as the user named it: a libpq connection string, which may hold a password.

    The string is left out of ``repr`` so that no log or traceback shows it.
    """

    side: Side
    conninfo: str = field(repr=False)

    def error(
        self, message: str, *, hint: str | None = None, retryable: bool = False
    ) -> PgcopydbError:
        """Return the error class of this side, so that the exit status says where it failed."""
        error = SourceError if self.side is Side.SOURCE else TargetError
        return error(message, hint=hint, retryable=retryable)
