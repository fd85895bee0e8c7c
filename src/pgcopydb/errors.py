"""Every error that this program raises on purpose, with the exit status that it ends in.

::

    PgcopydbError
      UsageError            1   the command line is wrong
      ConfigurationError    2   filters, environment, tools or settings do not fit the work
      StateError            3   the work directory or the run's state forbids it
      SqlError              4   a statement failed for a reason that is neither side's connection
      ExternalToolError     5   pg_dump or pg_restore failed
      SourceError           6   the source refused, or went away
      TargetError           7   the target refused, or went away
        ConflictError       7   a row on the target is not what the source says it was
      DifferencesFound      8   compare: the two sides differ
      NotComparable         9   compare: a migration between them is under way
      InternalError        12   a defect of this program
        ProtocolError      12   bytes that are not what the protocol says
        WorkerError        12   a worker process failed or died
      IncompleteError       *   some of it failed: the status of the first failure
      Interrupted         130   SIGINT; 143 for SIGTERM. The work can be resumed

A message says what failed and on which side, in one line; the hint says what to do next.
Errors travel between processes, so every class is picklable and holds only text.
"""

from collections.abc import Sequence
from typing import ClassVar


class PgcopydbError(Exception):
    """An error for a person to read: what failed, and what to do about it."""

    exit_code: ClassVar[int] = 12

    def __init__(self, message: str, *, hint: str | None = None, retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retryable = retryable

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.__dict__.copy()))

    @property
    def status(self) -> int:
        """The exit status of a command that ends with this error."""
        return self.exit_code


def _rebuild(cls: type[PgcopydbError], attributes: dict[str, object]) -> PgcopydbError:
    error = cls.__new__(cls)
    Exception.__init__(error, attributes["message"])
    error.__dict__.update(attributes)
    return error


class UsageError(PgcopydbError):
    """The command line is wrong."""

    exit_code = 1


class ConfigurationError(PgcopydbError):
    """Filters, environment, tools or server settings do not fit the work asked for."""

    exit_code = 2


class StateError(PgcopydbError):
    """The work directory, the slot or the origin is not in a state that allows the work."""

    exit_code = 3


class SqlError(PgcopydbError):
    """A statement failed for a reason that belongs to neither connection."""

    exit_code = 4


class ExternalToolError(PgcopydbError):
    """pg_dump or pg_restore failed."""

    exit_code = 5


class SourceError(PgcopydbError):
    """The source server refused, or went away."""

    exit_code = 6


class TargetError(PgcopydbError):
    """The target server refused, or went away."""

    exit_code = 7


class ConflictError(TargetError):
    """A row on the target is not what the source says it was before the change."""


class DifferencesFound(PgcopydbError):
    """A comparison found that the two sides differ."""

    exit_code = 8


class NotComparable(PgcopydbError):
    """The two sides cannot be compared now, because a migration between them is under way."""

    exit_code = 9


class InternalError(PgcopydbError):
    """A defect of this program."""

    exit_code = 12


class ProtocolError(InternalError):
    """Bytes from a server or a file are not what their protocol says."""


class IncompleteError(PgcopydbError):
    """Some of what was to be done failed and the rest is done; ``status`` is the first one's."""

    def __init__(self, message: str, *, hint: str | None = None, status: int) -> None:
        super().__init__(message, hint=hint)
        self._status = status

    @property
    def status(self) -> int:
        """The exit status of the first failure."""
        return self._status


class WorkerError(InternalError):
    """A worker process failed or died; carries the cause with the most telling exit status."""

    def __init__(self, message: str, *, hint: str | None = None, status: int = 12) -> None:
        super().__init__(message, hint=hint)
        self._status = status

    @property
    def status(self) -> int:
        """The exit status of the worker's own error, so that the cause is not hidden."""
        return self._status


class Interrupted(PgcopydbError):
    """A signal asked this program to stop; what is done is kept and can be resumed."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("stopped on request", hint="run the same command with --resume to go on")
        self.signal_number = signal_number

    @property
    def status(self) -> int:
        """128 plus the signal's number, as a shell reports it."""
        return 128 + self.signal_number


def some_clauses(clauses: Sequence[str], shown: int = 5) -> str:
    """Return the first ``shown`` clauses, and how many more there are, for a message of one line.

    As :func:`some_of` does of names, which hold no commas.
    """
    more = f"; and {len(clauses) - shown} more" if len(clauses) > shown else ""
    return "; ".join(clauses[:shown]) + more


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, for a message that must fit one line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def some_of(names: Sequence[str], shown: int = 5) -> str:
    """Return the first ``shown`` names, and how many more there are, for a message of one line."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
