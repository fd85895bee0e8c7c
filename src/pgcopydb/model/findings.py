"""What a look at both servers finds before a migration is begun, and how it is mended."""

from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct

from pgcopydb.model.endpoint import Side


class Severity(StrEnum):
    """How much a finding matters."""

    FATAL = "fatal"
    """The work would fail, or lose something: it is refused."""
    WARNING = "warning"
    """The work may fail or wait, or the result is not all that one may expect."""
    NOTE = "note"
    """Good to know; nothing has to be done."""


@dataclass(frozen=True, slots=True)
class Name:
    """An SQL identifier of one or more parts, unquoted: ``Name("public", "orders")``."""

    parts: tuple[str, ...]

    def __init__(self, *parts: str) -> None:
        object.__setattr__(self, "parts", parts)


@dataclass(frozen=True, slots=True)
class Statement:
    """An SQL statement: ``{}`` stand for ``arguments``, names and literals, in their order."""

    template: str
    arguments: tuple[Name | str | int, ...]

    def __init__(self, template: str, *arguments: Name | str | int) -> None:
        object.__setattr__(self, "template", template)
        object.__setattr__(self, "arguments", arguments)


class Finding(Struct, frozen=True, kw_only=True):
    """Something found on one side, or on this machine where ``side`` is None.

    ``check`` names what was looked at, for scripts. ``statements`` mend it when a superuser runs
    them in the database of that side, after a ``restart`` of the server where that is said;
    ``advice`` is what can be done otherwise. ``status`` is the exit status of a command that this
    ends.
    """

    severity: Severity
    side: Side | None
    check: str
    message: str
    statements: tuple[Statement, ...] = ()
    restart: bool = False
    advice: str | None = None
    status: int = 2


class Report(Struct, frozen=True, kw_only=True):
    """All findings of one look, the gravest first."""

    findings: tuple[Finding, ...] = ()

    @property
    def fatal(self) -> tuple[Finding, ...]:
        """The findings for which the work is refused."""
        return tuple(found for found in self.findings if found.severity is Severity.FATAL)

    @property
    def status(self) -> int:
        """The exit status: that of the fatal findings if they agree on one, else 2; or 0."""
        statuses = {found.status for found in self.fatal}
        return statuses.pop() if len(statuses) == 1 else 2 if statuses else 0
