"""Asks a server whether a role may store settings, as functions, roles and databases have them.

Which parameters are kept for superusers depends on the version, on what was granted, on libraries
that are loaded, and on services' own changes to the server: only an attempt tells, which is rolled
back. Each role may alter itself, and what is checked then is checked for everything that stores
settings.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import psycopg

from pgcopydb.model.readiness import Refusal, SettingRefusal
from pgcopydb.sql.settings import set_clause

_OPEN_TO_ALL: Final = frozenset({"search_path"})
"""Most functions that set anything set this, each to a value of its own: it need not be asked."""

_REASONS: Final[dict[type[psycopg.Error], Refusal]] = {
    psycopg.errors.InsufficientPrivilege: Refusal.RIGHT,
    psycopg.errors.UndefinedObject: Refusal.NAME,
    psycopg.errors.InvalidParameterValue: Refusal.VALUE,
    psycopg.errors.CantChangeRuntimeParam: Refusal.VALUE,
}


def refused_settings(
    connection: psycopg.Connection[Any], settings: Iterable[str]
) -> Iterator[SettingRefusal]:
    """Give those of ``settings``, each ``name=value``, that the role may not store, and why."""
    for setting in sorted(set(settings)):
        if setting.partition("=")[0] in _OPEN_TO_ALL:
            continue
        refusal = refusal_of(connection, f"ALTER ROLE CURRENT_USER {set_clause(setting)}", setting)
        if refusal is not None:
            yield refusal


def refusal_of(
    connection: psycopg.Connection[Any], statement: str, setting: str
) -> SettingRefusal | None:
    """Run the statement that stores ``setting``, and roll it back; return why it is refused.

    Refusals for other reasons than the setting and the role's rights are none of this.
    """
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
    except tuple(_REASONS) as error:
        reason = next(_REASONS[kind] for kind in _REASONS if isinstance(error, kind))
        return SettingRefusal(
            setting=setting, reason=reason, message=str(error.diag.message_primary)
        )
    except psycopg.ProgrammingError:
        return None
    return None
