"""Findings as text: the statements that mend them, and the one line that a command ends with."""

from typing import Final

from psycopg import sql

from pgcopydb.model.findings import Finding, Name, Statement

_SHOWN_STATEMENTS: Final = 3
_SHOWN_LENGTH: Final = 400


def statement_text(statement: Statement) -> str:
    """Return a statement as SQL, its names and literals quoted."""
    arguments = [
        sql.Identifier(*argument.parts) if isinstance(argument, Name) else sql.Literal(argument)
        for argument in statement.arguments
    ]
    # The templates are the rules' own constants.
    template = sql.SQL(statement.template)
    return template.format(*arguments).as_string()


def told(finding: Finding) -> str:
    """Return what was found, with its side before it."""
    return f"{finding.side}: {finding.message}" if finding.side else finding.message


def remedy(finding: Finding) -> str | None:
    """Return what mends a finding in one line; None when nothing is known to."""
    statements = [statement_text(statement) for statement in finding.statements]
    shown = " ".join(statements)
    if len(statements) > _SHOWN_STATEMENTS or len(shown) > _SHOWN_LENGTH:
        shown = "run the statements that 'pgcopydb check' prints"
    if shown and finding.restart:
        shown += " and restart the server"
    return "; ".join(filter(None, (shown.removesuffix(";"), finding.advice))) or None
