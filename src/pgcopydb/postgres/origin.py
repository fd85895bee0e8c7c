"""Progress in a replication origin, and what tells whether its position may be believed.

The commit record carries the origin's position, so that rows and position survive together. But
since PostgreSQL 16 the record of an abort carries it too (``RecordTransactionAbort``, xact.c): a
session that is ended between ``pg_replication_origin_xact_setup`` and COMMIT, or whose COMMIT
fails, leaves an origin that says that the transaction is applied. Measured on 16.14 and 18.4 with
a ROLLBACK, pg_terminate_backend, a client that went away and a deferred constraint; 15 leaves it
where it was. So each transaction first writes down the position before it, the one after it and its
number, in three sequences, which no rollback takes back. Whoever attaches next asks what became of
that transaction, and puts the origin back where it was aborted. An origin that stands anywhere else
was moved by somebody, and is refused: what is in between would be passed over, or done twice.
"""

import hashlib
import logging
from typing import Any, Final, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from pgcopydb.errors import StateError, TargetError
from pgcopydb.lsn import format_lsn, parse_lsn
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.postgres.connect import reporting
from pgcopydb.postgres.pipeline import Pipeline
from pgcopydb.postgres.progress import take_over, timestamp
from pgcopydb.postgres.triggers import silence_event_triggers
from pgcopydb.rules.readiness.applying import ORIGIN_FUNCTIONS

log = logging.getLogger(__name__)

_NOTED: Final = ("before", "after", "transaction")
"""What each transaction notes: a sequence for each."""

Connection = psycopg.Connection[Any]


def may_use_origins(connection: Connection) -> bool:
    """Tell whether this role may execute every function that replication origins need."""
    row = connection.execute(
        "select pg_catalog.bool_and(pg_catalog.has_function_privilege(f, 'execute'))"
        " from pg_catalog.unnest(%s::text[]) as f",
        ([f"pg_catalog.{name}" for name in ORIGIN_FUNCTIONS],),
    ).fetchone()
    return bool(row and row[0])


class _Witness(NamedTuple):
    """The last transaction that set up the origin, and the positions before and after it.

    ``status`` is what became of it: None where nothing is under way, or nobody knows any more.
    """

    before: int
    after: int
    transaction: int
    status: str | None

    @property
    def aborted(self) -> bool:
        """Whether the origin may stand beyond what is applied."""
        return self.status == "aborted"

    def allows(self, position: int) -> bool:
        """Tell whether an origin may stand there that tells of no transaction rolled back.

        A crash may have kept what the next transaction noted and not its number: nothing of that
        was committed, and the position before it is the one after the last.
        """
        return position in {self.before, self.after}


class OriginProgress:
    """Progress in a replication origin that :func:`create_origin` has made."""

    def __init__(self, connection: Connection, endpoint: Endpoint, name: str) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._name = name
        # CASE keeps the order: the number must never be there before its positions
        self._note = _about(
            name,
            "select case when pg_catalog.setval({before}, $1) >= 0"
            " and pg_catalog.setval({after}, $2) >= 0"
            " then pg_catalog.setval({transaction}, pg_catalog.txid_current()) end",
        ).as_string(connection)
        self._position = 0
        self._noted = False

    def attach(self) -> int:
        """Set this session up for the origin, ending a stale session of ours that holds it.

        Where the origin tells of a transaction that was rolled back, it is put back first.
        """
        if not take_over(self._connection, self._endpoint, self._set_up):
            raise StateError(
                f'target: replication origin "{self._name}" is in use by another session',
                hint="another pgcopydb applies to this target; stop it first",
            )
        witness = self._witness()
        if witness.aborted:  # it was under way before the session had the origin
            raise TargetError(
                f'target: what replication origin "{self._name}" says was just rolled back',
                retryable=True,
            )
        self._position = self.durable()
        if not witness.allows(self._position):
            raise self._moved(witness)
        return self._position

    def _moved(self, witness: _Witness) -> StateError:
        return StateError(
            f'target: replication origin "{self._name}" stands at {format_lsn(self._position)},'
            f" but what was applied last ends at {format_lsn(witness.after)}",
            hint="something else moved it, or the target was restored: put it back there with"
            " pg_replication_origin_advance if nothing but the origin was changed, or clone again",
        )

    def _set_up(self) -> bool:
        with reporting(self._endpoint, f'using replication origin "{self._name}"'):
            try:
                self._put_back()
                self._connection.execute(
                    "select pg_catalog.pg_replication_origin_session_setup(%s)", (self._name,)
                )
            except psycopg.errors.ObjectInUse:
                return False
            except psycopg.errors.UndefinedObject:
                raise StateError(
                    f'target: replication origin "{self._name}" is gone',
                    hint="with it went the record of what is applied: clone again",
                ) from None
        return True

    def _put_back(self) -> None:
        """Put the origin to where it was before a transaction that was rolled back.

        What became of the transaction is asked first: one that ends only after the position was
        read would be taken for aborted, and the position for the one before it. Raises psycopg's
        ObjectInUse while a session has it.
        """
        if read_origin(self._connection, self._endpoint, self._name) is None:
            return
        witness = self._witness()
        if not witness.aborted:
            return
        stated = read_origin(self._connection, self._endpoint, self._name) or 0
        if stated != witness.before:
            _advance(self._connection, self._name, witness.before)
            log.warning(
                'target: replication origin "%s" told of a transaction that was rolled back: it'
                " is put back from %s to %s",
                self._name,
                format_lsn(stated),
                format_lsn(witness.before),
            )
        self._forget(witness.before)

    def _witness(self) -> _Witness:
        witness = _read_witness(self._connection, self._endpoint, self._name)
        if witness is None:
            raise StateError(
                f'target: what proves the position of replication origin "{self._name}" is gone'
                " from the schema pgcopydb",
                hint="without it nobody knows what is applied: clone again",
            )
        if witness.transaction and witness.status is None:
            raise StateError(
                "target: whether the last transaction that was applied before apply stopped was"
                " committed is not known any more",
                hint="the server has forgotten it, as it does after a VACUUM FREEZE: clone again",
            )
        return witness

    def mark(self, pipeline: Pipeline, end_lsn: int, commit_time: int) -> None:
        """Queue the setup of the origin's progress for the transaction under way."""
        pipeline.add(self._note, (b"%d" % self._position, b"%d" % end_lsn))
        pipeline.add(
            "select pg_catalog.pg_replication_origin_xact_setup("
            "$1::pg_catalog.pg_lsn, $2::pg_catalog.timestamptz)",
            (format_lsn(end_lsn).encode(), timestamp(commit_time)),
        )
        self._position = end_lsn
        self._noted = True

    def durable(self) -> int:
        """Return the origin's position, flushed, which from then on needs no proof."""
        position = read_origin(self._connection, self._endpoint, self._name) or 0
        if self._noted:
            self._forget(position)
        return position

    def _forget(self, position: int) -> None:
        """Note where the origin stands, as it must, so that no server need remember for long."""
        note = _about(
            self._name,
            "select case when pg_catalog.setval({before}, %s) >= 0"
            " and pg_catalog.setval({after}, %s) >= 0"
            " then pg_catalog.setval({transaction}, 0) end",
        )
        with reporting(self._endpoint, f'confirming replication origin "{self._name}"'):
            self._connection.execute(note, (position, position))
        self._noted = False


def applied_position(connection: Connection, endpoint: Endpoint, name: str) -> int | None:
    """Return up to where the target has applied under an origin, durably, without taking it.

    None when it does not exist. What proves the position is read before it and after it: a
    transaction may be rolled back, or an origin put back, between two looks.
    """
    earlier = _read_witness(connection, endpoint, name)
    stated = read_origin(connection, endpoint, name)
    later = _read_witness(connection, endpoint, name)
    aborted = (one.before for one in (earlier, later) if one is not None and one.aborted)
    return next(aborted, stated)


def read_origin(connection: Connection, endpoint: Endpoint, name: str) -> int | None:
    """Return the durable position of a replication origin; None when it does not exist."""
    with reporting(endpoint, f'reading replication origin "{name}"'):
        row = connection.execute(
            "select pg_catalog.pg_replication_origin_progress(roname, true)::text"
            " from pg_catalog.pg_replication_origin where roname = %s",
            (name,),
        ).fetchone()
    if row is None:
        return None
    return parse_lsn(row[0]) if row[0] else 0


def create_origin(connection: Connection, endpoint: Endpoint, name: str, start: int) -> None:
    """Create a replication origin that stands at ``start``; ``connection`` is in autocommit.

    The helper schema must be there. Creation commits before the advance: in one transaction that
    rolled back, the advance would survive and be inherited by the next origin of that number
    (ruling 22). The position is read back, because everything that follows rests on it.
    """
    create_witness(connection, endpoint, name, start)
    with reporting(endpoint, f'creating replication origin "{name}"'):
        connection.execute("select pg_catalog.pg_replication_origin_create(%s)", (name,))
        _advance(connection, name, start)
    position = read_origin(connection, endpoint, name)
    if position != start:
        raise StateError(
            f'target: replication origin "{name}" stands at {format_lsn(position or 0)}'
            f" instead of {format_lsn(start)}",
            hint="drop it with pg_replication_origin_drop and try again",
        )


def create_witness(connection: Connection, endpoint: Endpoint, name: str, start: int) -> None:
    """Create what proves that an origin which no transaction has set up stands at ``start``.

    The helper schema must be there.
    """
    with reporting(endpoint, f'preparing replication origin "{name}"'), connection.transaction():
        _drop_witness(connection, name)
        for sequence, first in zip(_sequences(name), (start, start, 0), strict=True):
            connection.execute(
                sql.SQL("create sequence {} minvalue 0 start {}").format(sequence, first)
            )


def drop_origin(connection: Connection, endpoint: Endpoint, name: str) -> None:
    """Drop a replication origin if it exists, with what proves its position."""
    exists = read_origin(connection, endpoint, name) is not None
    with reporting(endpoint, f'dropping replication origin "{name}"'):
        if exists:
            connection.execute("select pg_catalog.pg_replication_origin_drop(%s)", (name,))
        _drop_witness(connection, name)


def _advance(connection: Connection, name: str, position: int) -> None:
    """Set an origin that no session has, forwards or back."""
    connection.execute(
        "select pg_catalog.pg_replication_origin_advance(%s, %s::pg_catalog.pg_lsn)",
        (name, format_lsn(position)),
    )


def _read_witness(connection: Connection, endpoint: Endpoint, name: str) -> _Witness | None:
    """Return what was noted last, and what became of it; None where nothing can be noted."""
    with reporting(endpoint, f'reading what proves replication origin "{name}"'):
        there = connection.execute(
            _about(
                name,
                "select pg_catalog.to_regclass({before}) is not null"
                " and pg_catalog.to_regclass({after}) is not null"
                " and pg_catalog.to_regclass({transaction}) is not null",
            )
        ).fetchone()
        if not (there and there[0]):
            return None
        row = connection.execute(
            sql.SQL(
                "select b.last_value, a.last_value, t.last_value, case when t.last_value > 0"
                " then pg_catalog.txid_status(t.last_value) end from {} as b, {} as a, {} as t"
            ).format(*_sequences(name))
        ).fetchone()
    return None if row is None else _Witness(*row)


def _drop_witness(connection: Connection, name: str) -> None:
    with connection.transaction():
        silence_event_triggers(connection)
        for sequence in _sequences(name):
            connection.execute(sql.SQL("drop sequence if exists {}").format(sequence))


def _sequences(name: str) -> tuple[sql.Identifier, ...]:
    """Return the sequences of an origin: of the positions before and after, of the transaction."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]  # an origin's name can be too long
    return tuple(sql.Identifier("pgcopydb", f"origin_{digest}_{kind}") for kind in _NOTED)


def _about(name: str, statement: LiteralString) -> sql.Composed:
    """Return ``statement`` with the names of an origin's sequences in it, as text constants."""
    names = (sql.Literal(one.as_string()) for one in _sequences(name))
    return sql.SQL(statement).format(**dict(zip(_NOTED, names, strict=True)))
