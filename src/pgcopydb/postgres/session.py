"""The settings of every session, on both sides and on the walsender.

A value must come out of the source and go into the target as the same text, and no limit that an
administrator set for an application may end hours of work. All of it is one statement, and only
settings that the server has are touched, so one list serves every version. It is sent as a simple
query, the only kind that a walsender takes.
"""

from functools import cache
from typing import Any, Final

from psycopg import Connection, sql
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader

from pgcopydb.model.encodings import RAW
from pgcopydb.model.endpoint import Side

VALUES: Final = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    # money is an integer of the smallest unit, printed by this locale: any will do, if it is one.
    "lc_monetary": "C",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "xmloption": "content",
    "quote_all_identifiers": "off",
}
"""What decides how values and definitions are printed and read."""

LIMITS: Final = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
"""What would end a long transaction, or the holder of a snapshot (correctness M10)."""

BEHAVIOUR: Final = {
    "row_security": "off",  # an error instead of fewer rows
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "synchronize_seqscans": "off",
    "jit": "off",  # fires on the statements of apply and costs more than it gives
}

_TABLES_ONLY: Final = {"restrict_nonsystem_relation_kind": "view, foreign-table"}
"""No view or foreign table is read in a table's place (CVE-2024-7348): it runs its owner's code.

Servers have this since 12.20, 13.16, 14.13, 15.8 and 16.4.
"""

SIDES: Final = {
    # A source made read-only for the cut-over stays so: nothing needs to write rows there.
    Side.SOURCE: _TABLES_ONLY,
    Side.TARGET: {"default_transaction_read_only": "off"},
}

# Last, and by itself: with search_path empty, what follows finds only pg_catalog.
PATH: Final = {"search_path": ""}

_STATEMENT: Final = sql.SQL(
    "select pg_catalog.count(pg_catalog.set_config(name, value, false))"
    " from (values {pins}) as v(name, value)"
    " where pg_catalog.current_setting(name, true) is not null"
)
"""Not by pg_settings, which describes all 350 settings first: 0.6 ms in place of 2.4."""


def pins(side: Side) -> dict[str, str]:
    """Return every setting of a session of ``side`` with its value."""
    return {**VALUES, **LIMITS, **BEHAVIOUR, **SIDES[side], **PATH}


@cache
def pin_statement(side: Side) -> bytes:
    """Return the statement that sets them all, without parameters, in one round trip."""
    rows = [sql.SQL("({}, {})").format(name, value) for name, value in pins(side).items()]
    return _STATEMENT.format(pins=sql.SQL(", ").join(rows)).as_bytes()


def pin_session(connection: Connection[tuple[Any, ...]], side: Side) -> None:
    """Pin the settings of ``connection``; raises psycopg.Error."""
    connection.execute(pin_statement(side))


def child_overrides(connection: Connection[tuple[Any, ...]], side: Side) -> dict[str, str]:
    """Return the settings that pg_dump and pg_restore need and neither set nor get by default.

    They pin most settings themselves. Only those are returned for which the role, the database or
    the server has another default, because some poolers refuse start-up options.
    """
    wanted = {name: VALUES[name] for name in ("IntervalStyle", "lc_monetary", "array_nulls")}
    wanted |= LIMITS
    if side is Side.TARGET:
        wanted |= SIDES[side]
    rows = connection.execute("select name, reset_val from pg_catalog.pg_settings")
    defaults = {str(name): value for name, value in rows}
    return {name: value for name, value in wanted.items() if defaults.get(name, value) != value}


def read_tables_only(connection: Connection[tuple[Any, ...]], *, local: bool = False) -> None:
    """Keep views from being read in a table's place on a target too; raises psycopg.Error.

    With ``local`` until the end of the transaction. What writes there cannot have it: views are
    behind materialised ones, and in what functions of constraints read.
    """
    for name, value in _TABLES_ONLY.items():
        connection.execute(
            "select pg_catalog.set_config(name, %s, %s) from (values (%s)) as v(name)"
            " where pg_catalog.current_setting(name, true) is not null",
            (value, local, name),
        )


class _RawText(Loader):
    """Reads text of any encoding; what is no UTF-8 survives as lone surrogates."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "surrogateescape")


class _RawParameter(Dumper):
    """Sends text as UTF-8, and lone surrogates as the bytes that they stand for."""

    def dump(self, obj: str) -> bytes:
        return obj.encode("utf-8", "surrogateescape")


def use_raw_encoding(connection: Connection[tuple[Any, ...]]) -> bool:
    """Send and receive the bytes of a SQL_ASCII database as they are; tell whether it is one.

    Such a database may hold bytes that are no UTF-8, which a session in UTF8 refuses to print or
    to take. Statements of such a session must be ASCII or bytes.
    """
    if connection.info.parameter_status("server_encoding") != RAW:
        return False
    connection.execute("set client_encoding to 'SQL_ASCII'")
    for name in ("text", "name", "varchar", "bpchar"):
        # psycopg would return bytes in this encoding.
        connection.adapters.register_loader(name, _RawText)
    connection.adapters.register_dumper(str, _RawParameter)
    return True
