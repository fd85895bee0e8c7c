"""The golden SQL: what the recorded changes become as text.

python -m tests.golden.sql_forms           render again, after a change of the renderer
"""

import io
from collections.abc import Iterable, Iterator

from pgcopydb.cdc.text.projection import Projection
from pgcopydb.cdc.text.transform import SqlWriter
from pgcopydb.decoding import make_decoder
from pgcopydb.decoding.jsonlines import JsonLinesEncoder
from pgcopydb.model.capture import Capture, FollowedTable
from pgcopydb.model.changes import Begin, Change, Commit
from pgcopydb.model.options import Plugin
from tests.golden import forms


def capture() -> Capture:
    """What the source's catalogue says of the recorded tables."""
    tables = tuple(
        FollowedTable(
            schema=schema,
            name=name,
            columns=(),
            identity=identity.columns,
            full=identity.full,
            keyless=False,
            filenode=0,
            generated=("twice",) if name == "made" else (),
            always=("id",) if name == "made" else (),
        )
        for (schema, name), identity in forms.read_identities().items()
    )
    return Capture(
        start=0,
        encoding="UTF8",
        version_num=150000,
        tables=tables,
        partitioned=(("public", "parts"),),
    )


def projected(plugin: Plugin) -> Iterator[tuple[int, Change]]:
    """Give (wal_start, change) as they are written."""
    project = Projection(capture())
    for start, change in forms.decoded(plugin):
        for written in project(change):
            yield start, written


def json_lines(plugin: Plugin) -> list[bytes]:
    """Return the lines that ``stream receive --to-stdout`` would print."""
    encoder = JsonLinesEncoder()
    return [encoder.encode(change, start) for start, change in projected(plugin)]


def read_back(lines: Iterable[bytes]) -> Iterator[Change]:
    """Give the changes in JSON lines."""
    decoder = make_decoder(Plugin.WAL2JSON)
    for line in b"".join(lines).splitlines():
        change = decoder.decode(line, 0)
        if change is not None:
            yield change


def sql_bytes(changes: Iterable[Change]) -> bytes:
    """Return the changes as the ``.sql`` file holds them."""
    file = io.BytesIO()
    writer = SqlWriter(file, 0)
    begin_time = 0
    for change in changes:
        if isinstance(change, Begin):
            begin_time = change.commit_time
        elif isinstance(change, Commit):
            writer.commit(change.xid, change.end_lsn, change.commit_time or begin_time)
        else:
            writer.change(change)
    return file.getvalue()


if __name__ == "__main__":
    for each in Plugin:
        rendered = sql_bytes(change for _, change in projected(each))
        (forms.HERE / f"{each}.sql").write_bytes(rendered)
