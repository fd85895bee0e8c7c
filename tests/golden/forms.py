"""The golden files: how frames are stored, and how changes are written down to be compared."""

import json
from collections.abc import Iterator
from pathlib import Path

from pgcopydb.decoding import make_decoder
from pgcopydb.decoding.jsonlines import JsonLinesEncoder
from pgcopydb.lsn import format_lsn, parse_lsn
from pgcopydb.model.changes import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Delete,
    Identities,
    Identity,
    Insert,
    Relation,
    Row,
    Truncate,
    Update,
)
from pgcopydb.model.options import Plugin

HERE = Path(__file__).parent
LONGEST_SHOWN = 60


def write_frames(name: str, frames: list[tuple[int, bytes]]) -> None:
    """Write (wal_start, payload) of recorded frames; ``name`` is the plugin's, or the file's."""
    lines = [
        f"{format_lsn(start)} {payload.decode('latin-1').encode('unicode_escape').decode()}\n"
        for start, payload in frames
    ]
    (HERE / f"{name}.frames").write_text("".join(lines))


def read_frames(name: str) -> list[tuple[int, bytes]]:
    """Return (wal_start, payload) of every recorded frame."""
    frames = []
    for line in (HERE / f"{name}.frames").read_text().splitlines():
        start, _, payload = line.partition(" ")
        raw = payload.encode().decode("unicode_escape").encode("latin-1")
        frames.append((parse_lsn(start), raw))
    return frames


def write_identities(identities: Identities) -> None:
    rows = [
        [schema, table, list(identity.columns), identity.full]
        for (schema, table), identity in sorted(identities.items())
    ]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (HERE / "identities.json").write_text(f"[\n{lines}\n]\n")


def read_identities() -> Identities:
    rows = json.loads((HERE / "identities.json").read_text())
    return {(schema, table): Identity(tuple(names), full) for schema, table, names, full in rows}


def decoded(plugin: Plugin) -> Iterator[tuple[int, Change]]:
    """Give (wal_start, change) of the recorded work."""
    decoder = make_decoder(plugin, read_identities())
    for start, payload in read_frames(plugin):
        change = decoder.decode(payload, start)
        if change is not None:
            yield start, change


def changes_text(plugin: Plugin) -> str:
    """Return the changes as the ``.changes`` file holds them."""
    return "".join(f"{readable(change)}\n" for _, change in decoded(plugin))


def jsonl_bytes(plugin: Plugin) -> bytes:
    """Return the JSON lines as the ``.jsonl`` file holds them."""
    encoder = JsonLinesEncoder()
    return b"".join(encoder.encode(change, start) for start, change in decoded(plugin))


def readable(change: Change) -> str:
    """Return one line for a person; long values are shown by their ends and length."""
    if isinstance(change, Begin):
        return f"BEGIN {change.xid} {format_lsn(change.lsn)} {change.commit_time}"
    if isinstance(change, Commit):
        return f"COMMIT {change.xid} {format_lsn(change.end_lsn)} {change.commit_time}"
    if isinstance(change, Insert):
        return f"INSERT {_table(change.relation)} {_row(change.relation, change.new)}"
    if isinstance(change, Update):
        old = "same" if change.old is None else _row(change.relation, change.old)
        return f"UPDATE {_table(change.relation)} {old} -> {_row(change.relation, change.new)}"
    if isinstance(change, Delete):
        return f"DELETE {_table(change.relation)} {_row(change.relation, change.old)}"
    if isinstance(change, Truncate):
        tables = ", ".join(_table(relation) for relation in change.relations)
        return f"TRUNCATE {tables} cascade={change.cascade} restart={change.restart_identity}"
    return f"MESSAGE {change.transactional} {change.prefix!r} {change.content!r}"


def _table(relation: Relation) -> str:
    key = ", ".join(relation.columns[position] for position in relation.key)
    identity = "full" if relation.full else f"key({key})"
    return f"{relation.schema!r}.{relation.name!r} {identity}"


def _row(relation: Relation, row: Row) -> str:
    columns = zip(relation.columns, relation.types, row, strict=True)
    return "{" + ", ".join(f"{n!r} {t}: {_value(v)}" for n, t, v in columns) + "}"


def _value(value: object) -> str:
    if value is UNCHANGED:
        return "unchanged"
    if not isinstance(value, bytes):
        return "null"
    text = repr(value.decode())
    if len(text) <= LONGEST_SHOWN * 3:
        return text
    return f"{text[:LONGEST_SHOWN]}…{text[-LONGEST_SHOWN:]} ({len(value)} bytes)"
