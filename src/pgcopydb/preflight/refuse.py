"""Ends a command before it has created anything, with everything that stands in its way."""

import logging
from typing import Final

from pgcopydb.errors import (
    ConfigurationError,
    InternalError,
    PgcopydbError,
    SourceError,
    StateError,
    TargetError,
)
from pgcopydb.model.findings import Report, Severity
from pgcopydb.preflight.text import remedy, told

log = logging.getLogger(__name__)

_ERRORS: Final[dict[int, type[PgcopydbError]]] = {
    2: ConfigurationError,
    3: StateError,
    6: SourceError,
    7: TargetError,
}


def refuse_unfit(report: Report, *, tell: bool = True, begun: bool = False) -> None:
    """Raise one error that names every fatal finding; ``tell`` the others when there is none.

    A migration that has ``begun`` is told what mends each: ``pgcopydb check`` is about another.
    """
    if not report.fatal:
        for found in report.findings if tell else ():
            level = logging.WARNING if found.severity is Severity.WARNING else logging.INFO
            log.log(level, "%s", told(found))
        return
    if begun or len(report.fatal) == 1:
        hint = "; ".join(filter(None, map(remedy, report.fatal))) or "nothing has been created"
    else:
        hint = (
            "nothing has been created; 'pgcopydb check' with the same options says what mends each"
        )
    raise error_of(report, "; ".join(told(found) for found in report.fatal), hint)


def error_of(report: Report, message: str, hint: str) -> PgcopydbError:
    """Return the error whose exit status is the report's."""
    return _ERRORS.get(report.status, InternalError)(message, hint=hint)
