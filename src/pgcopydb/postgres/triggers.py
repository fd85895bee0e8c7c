"""Triggers of the target that would fire while changes are applied, and keeping them silent.

Under ``session_replication_role = replica`` an ordinary trigger is silent, one that is ENABLE
ALWAYS or ENABLE REPLICA is not: an audit trigger would write every row a second time (ruling 21).
"""

from collections.abc import Iterable
from typing import Any, Final

import psycopg
from msgspec import Struct
from psycopg import sql
from psycopg.pq import TransactionStatus

from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import reporting

Connection = psycopg.Connection[Any]

_ORIGIN: Final = "O"

_STATES: Final = {
    "O": sql.SQL("enable trigger"),
    "A": sql.SQL("enable always trigger"),
    "R": sql.SQL("enable replica trigger"),
}
"""How each value of pg_trigger.tgenabled is set."""


class FiringTrigger(Struct, frozen=True):
    """A user's trigger and its pg_trigger.tgenabled."""

    schema: str
    table: str
    name: str
    state: str


def may_silence(connection: Connection, target: Endpoint) -> bool:
    """Tell whether the role may set ``session_replication_role``, which silences most triggers."""
    with reporting(target, "looking at the role's rights"):
        try:
            connection.execute("set session_replication_role to replica")
        except psycopg.errors.InsufficientPrivilege:
            return False
        connection.execute("reset session_replication_role")
    return True


def silence_event_triggers(connection: Connection) -> None:
    """Keep event triggers from firing on what this program does for itself, where the role may.

    Until the end of the transaction that is open, or else of the session. One that the copy has
    just made may refuse it, or write a row that the source does not have.
    """
    in_transaction = connection.info.transaction_status is TransactionStatus.INTRANS
    try:
        with connection.transaction():
            connection.execute(
                "select pg_catalog.set_config('session_replication_role', 'replica', %s)",
                (in_transaction,),
            )
    except psycopg.errors.InsufficientPrivilege:
        return


def firing_triggers(
    connection: Connection, target: Endpoint, *, silenced: bool
) -> list[FiringTrigger]:
    """Return the triggers that fire in the apply session.

    ``silenced`` says that ``session_replication_role`` is replica in it. A partition's trigger
    that comes from its parent's is left to the parent.
    """
    states = [state for state in _STATES if state != _ORIGIN or not silenced]
    with reporting(target, "reading the triggers"):
        rows = connection.execute(
            "select n.nspname::text, c.relname::text, t.tgname::text, t.tgenabled::text"
            " from pg_catalog.pg_trigger as t"
            " join pg_catalog.pg_class as c on c.oid = t.tgrelid"
            " join pg_catalog.pg_namespace as n on n.oid = c.relnamespace"
            " where not t.tgisinternal and t.tgenabled = any(%s)"
            " and c.relkind in ('r', 'p') and n.nspname <> 'pg_catalog'"
            " order by 1, 2, 3",
            (states,),
        ).fetchall()
    return [FiringTrigger(*row) for row in rows]


def disable_triggers(
    connection: Connection, target: Endpoint, triggers: Iterable[FiringTrigger]
) -> None:
    """Disable ``triggers``."""
    for trigger in triggers:
        _alter(connection, target, trigger, sql.SQL("disable trigger"))


def restore_triggers(
    connection: Connection, target: Endpoint, triggers: Iterable[FiringTrigger]
) -> None:
    """Set ``triggers`` back to the state in which they were found."""
    for trigger in triggers:
        _alter(connection, target, trigger, _STATES[trigger.state])


def _alter(connection: Connection, target: Endpoint, trigger: FiringTrigger, how: sql.SQL) -> None:
    statement = sql.SQL("alter table {} {} {}").format(
        sql.Identifier(trigger.schema, trigger.table), how, sql.Identifier(trigger.name)
    )
    with reporting(target, f"changing trigger {trigger.name} of {trigger.schema}.{trigger.table}"):
        connection.execute(statement)
