"""Record what pgoutput sends of transactions in progress: golden files of ``decoding.streaming``.

    python -m tests.golden.streamed CONNINFO

CONNINFO names a scratch PostgreSQL 16 or newer and a superuser on it, with ``wal_level = logical``
and ``max_prepared_transactions > 0``: since 16 a server can be told to stream every change at once
(``debug_logical_replication_streaming``), which makes small recordings.

Writes, here: ``streamed.frames``, with protocol version 2, and ``streamed.changes``, what the same
slot gave with version 1.
"""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg

from pgcopydb.decoding import make_decoder
from pgcopydb.decoding.streaming import (
    Range,
    StreamAbort,
    StreamCommit,
    StreamedChanges,
    StreamSplitter,
    StreamStart,
    StreamStop,
)
from pgcopydb.lsn import parse_lsn
from pgcopydb.model.options import Plugin, Streaming
from tests.golden import forms, record

_FRAMES = "streamed"
_TABLES = ("item", "twin", "gone")


def main(conninfo: str) -> None:
    """Run the work on a new database, and write what its slot gives."""
    before, after = (part.splitlines() for part in _work().split("-- SLOT\n"))
    with (
        psycopg.connect(conninfo, autocommit=True) as admin,
        record.new_database(admin),
        ExitStack() as open_sessions,
    ):
        sessions = [
            open_sessions.enter_context(
                psycopg.connect(conninfo, dbname=record.DATABASE, autocommit=True)
            )
            for _ in range(4)
        ]
        _run(sessions, before)
        for kind, tables in ((record.PUBLICATION, _TABLES), (f"{record.PUBLICATION}_insert", ())):
            of = f" FOR TABLE {', '.join(tables)}" if tables else ""
            sessions[0].execute(f"CREATE PUBLICATION {_quoted(kind)}{of}".encode())
        record.make_slot(sessions[0], Plugin.PGOUTPUT)
        _run(sessions, after)
        end = parse_lsn(record.scalar(sessions[0], "SELECT pg_current_wal_insert_lsn()"))
        recorded = {
            streaming: list(
                record.stream(conninfo, sessions[0], Plugin.PGOUTPUT, end, streaming=streaming)
            )
            for streaming in (Streaming.ON, Streaming.OFF)
        }
    forms.write_frames(_FRAMES, recorded[Streaming.ON])
    (forms.HERE / "streamed.changes").write_text(changes_text(recorded[Streaming.OFF]))


def _work() -> str:
    return (forms.HERE / "streamed.sql").read_text()


def _run(sessions: list[record.Session], lines: list[str]) -> None:
    for line in lines:
        if not line.startswith("--"):
            number, _, statement = line.partition(" ")
            sessions[int(number)].execute(statement.encode())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def changes_text(frames: list[tuple[int, bytes]]) -> str:
    """Return the changes of frames in the form of version 1, a line each."""
    decoder = make_decoder(Plugin.PGOUTPUT, {})
    decoded = (decoder.decode(payload, start) for start, payload in frames)
    return "".join(f"{forms.readable(change)}\n" for change in decoded if change is not None)


def whole_transactions() -> Iterator[tuple[int, bytes]]:
    """Give what was recorded in progress as frames of version 1, transaction by transaction."""
    splitter = StreamSplitter()
    kept: dict[int, list[Range]] = {}
    current = 0
    for part in splitter.split(list(messages())):
        match part:
            case StreamStart(xid, is_first):
                assert is_first == (xid not in kept)
                current = xid
                kept.setdefault(xid, [])
            case StreamedChanges(ranges):
                kept[current] += ranges
            case StreamStop():
                current = 0
            case StreamAbort(xid, subtransaction) if xid == subtransaction:
                del kept[xid]
            case StreamAbort(xid, subtransaction):
                kept[xid] = [one for one in kept[xid] if one.describes or one.xid != subtransaction]
            case StreamCommit(xid, _, begin, commit):
                changes = [message for one in kept.pop(xid) for message in one.messages]
                yield from map(_frame, (begin, *changes, commit))
            case _:
                yield from map(_frame, part)
    assert not kept


def parts() -> list[object]:
    """Return the parts that the recorded messages are."""
    return list(StreamSplitter().split(list(messages())))


def messages() -> Iterator[bytes]:
    """Give the recorded frames as the XLogData messages that they came in."""
    for start, payload in forms.read_frames(_FRAMES):
        yield b"w" + start.to_bytes(8) + start.to_bytes(8) + bytes(8) + payload


def _frame(message: bytes) -> tuple[int, bytes]:
    return int.from_bytes(message[1:9]), message[25:]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="record pgoutput's version 2")
    parser.add_argument("conninfo", help="a scratch PostgreSQL 16 or newer, as a superuser")
    main(parser.parse_args().conninfo)
