"""The parts of the text pipeline that need no server: lines, spool, notes, projection, writer."""

import io
import os
import threading
from collections.abc import Iterable

import pytest

from pgcopydb.cdc.text.lines import Spool, read_lines
from pgcopydb.cdc.text.notes import (
    CompleteNote,
    Note,
    SourceNote,
    as_json,
    as_message,
    from_comment,
    from_message,
    is_reserved,
)
from pgcopydb.cdc.text.projection import Projection
from pgcopydb.cdc.text.transform import SqlWriter
from pgcopydb.errors import ProtocolError, StateError
from pgcopydb.model.capture import Capture, FollowedTable
from pgcopydb.model.changes import (
    UNCHANGED,
    Change,
    Delete,
    Insert,
    Message,
    Relation,
    Truncate,
    Update,
)

# -- lines and spool -------------------------------------------------------------------------------


def through_a_pipe(pieces: Iterable[bytes]) -> list[bytes]:
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb", buffering=0) as file:
            for piece in pieces:
                file.write(piece)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        return [line for line in read_lines(reader) if line is not None]
    finally:
        thread.join()
        os.close(reader)


def test_lines_come_whole_however_they_are_cut() -> None:
    assert through_a_pipe([b"a", b"b\nc\n\n", b"d"]) == [b"ab", b"c", b"", b"d"]
    assert through_a_pipe([]) == []
    long = b"x" * 3_000_000
    assert through_a_pipe([long, b"\n", long]) == [long, long]


def test_a_pause_is_told() -> None:
    reader, writer = os.pipe()
    lines = read_lines(reader)
    os.write(writer, b"one\ntw")
    assert next(lines) == b"one"
    assert next(lines) is None
    assert next(lines) is None
    os.write(writer, b"o\n")
    assert next(line for line in lines if line is not None) == b"two"
    os.close(writer)
    assert [line for line in lines if line is not None] == []
    os.close(reader)


@pytest.mark.parametrize("in_memory", [0, 10, 1000])
def test_a_spool_gives_back_what_it_was_given_once(in_memory: int) -> None:
    with Spool(in_memory=in_memory) as spool:
        for _ in range(2):
            pieces = [b"%d;" % number for number in range(100)]
            for piece in pieces:
                spool.append(piece)
            assert b"".join(spool.take()) == b"".join(pieces)
            assert b"".join(spool.take()) == b""
        spool.append(b"void")
        spool.clear()
        assert b"".join(spool.take()) == b""


# -- notes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("note", [SourceNote("7612/5"), CompleteNote(0x1_0000_0010)])
def test_notes_are_read_back(note: Note) -> None:
    assert from_message(as_message(note)) == note
    assert from_comment(b"-- " + as_json(note)) == note


def test_what_is_no_note_is_none() -> None:
    for text in (
        b"--",
        b"-- a comment",
        b"-- {}",
        b'-- {"complete":"x"}',
        b'-- {"other":1}',
        b"-- 1",
    ):
        assert from_comment(text) is None
    assert from_message(Message(False, "app", b"x")) is None
    transactional = Message(True, "pgcopydb.complete", b"0/1")
    assert not is_reserved(transactional)
    assert from_message(transactional) is None
    with pytest.raises(ProtocolError):
        from_message(Message(False, "pgcopydb.complete", b"soon"))


# -- projection ------------------------------------------------------------------------------------

COLUMNS = ("id", "a", "twice", "note")
TYPES = ("integer", "integer", "integer", "text")


def project(
    change: Change, *, generated: tuple[str, ...] = ("twice",), always: tuple[str, ...] = ("id",)
) -> list[Change]:
    table = FollowedTable(
        schema="public",
        name="t",
        columns=(),
        identity=("id",),
        full=False,
        keyless=False,
        filenode=1,
        generated=generated,
        always=always,
    )
    capture = Capture(
        start=1,
        encoding="UTF8",
        version_num=150000,
        tables=(table,),
        partitioned=(("public", "root"),),
    )
    return list(Projection(capture)(change))


def relation(*names: str, key: tuple[int, ...] = (), full: bool = False) -> Relation:
    types = dict(zip(COLUMNS, TYPES, strict=True))
    return Relation("public", "t", names, tuple(types[name] for name in names), key, full)


KEYED = relation(*COLUMNS, key=(0,))
BARE = relation("id", "a", "note", key=(0,))


def test_generated_columns_are_left_out() -> None:
    assert project(Insert(KEYED, (b"1", b"2", b"4", b"n"))) == [Insert(BARE, (b"1", b"2", b"n"))]
    assert project(Delete(KEYED, (b"1", None, None, None))) == [Delete(BARE, (b"1", None, None))]


def test_an_identity_column_is_not_set_while_it_stays() -> None:
    (change,) = project(Update(KEYED, None, (b"1", b"3", b"6", UNCHANGED)))
    assert change == Update(BARE, (b"1", None, None), (UNCHANGED, b"3", UNCHANGED))
    # outside of the key, too
    other = relation("id", "a", key=(1,))
    (change,) = project(Update(other, None, (b"1", b"3")))
    assert change == Update(other, None, (UNCHANGED, b"3"))


def test_an_identity_column_that_moves_is_inserted_anew() -> None:
    old = (b"1", None, None, None)
    assert project(Update(KEYED, old, (b"9", b"3", b"6", b"n"))) == [
        Delete(BARE, (b"1", None, None)),
        Insert(BARE, (b"9", b"3", b"n")),
    ]
    with pytest.raises(StateError, match="GENERATED ALWAYS AS IDENTITY"):
        project(Update(KEYED, old, (b"9", b"3", b"6", UNCHANGED)))
    full = relation(*COLUMNS, full=True)
    whole = relation("id", "a", "note", full=True)
    row = (b"1", b"3", b"6", b"long")
    assert project(Update(full, row, (b"9", b"3", b"6", UNCHANGED))) == [
        Delete(whole, (b"1", b"3", b"long")),
        Insert(whole, (b"9", b"3", b"long")),
    ]
    (change,) = project(Update(full, row, (b"1", b"4", b"8", UNCHANGED)))
    assert change == Update(whole, (b"1", b"3", b"long"), (UNCHANGED, b"4", UNCHANGED))


def test_a_generated_column_in_the_key_finds_the_row_and_is_not_set() -> None:
    by_made = relation("a", "twice", key=(1,))
    assert project(Insert(by_made, (b"1", b"2"))) == [Insert(relation("a"), (b"1",))]
    assert project(Delete(by_made, (None, b"2"))) == [Delete(by_made, (None, b"2"))]
    (change,) = project(Update(by_made, (None, b"2"), (b"3", b"6")))
    assert change == Update(by_made, (None, b"2"), (b"3", UNCHANGED))
    (change,) = project(Update(by_made, None, (b"1", b"2")))
    assert change == Update(by_made, (None, b"2"), (b"1", UNCHANGED))


def test_other_tables_pass_as_they_are() -> None:
    plain = Relation("public", "other", ("id",), ("integer",), (0,))
    change = Insert(plain, (b"1",))
    assert project(change) == [change]
    message = Message(True, "p", b"c")
    assert project(message) == [message]
    update = Update(KEYED, None, (b"1", b"3", b"6", UNCHANGED))
    assert project(update, generated=(), always=()) == [update]


def test_partitioned_tables_are_left_out_of_a_truncate() -> None:
    root, leaf = (Relation("public", name, (), ()) for name in ("root", "leaf"))
    assert project(Truncate((root, leaf), restart_identity=True)) == [
        Truncate((leaf,), restart_identity=True)
    ]
    assert project(Truncate((root,))) == []


# -- writer ----------------------------------------------------------------------------------------


def written(file: io.BytesIO) -> list[str]:
    """Return the first words of what follows the settings."""
    return [
        " ".join(line.split()[:2])
        for line in file.getvalue().decode().splitlines()
        if not line.startswith("SET ")
    ]


def test_transactions_are_written_whole_and_only_with_statements() -> None:
    file = io.BytesIO()
    writer = SqlWriter(file, endpos=0)
    writer.change(Message(True, "p", b"c"))
    writer.commit(1, 10, 0)
    writer.change(Insert(BARE, (b"1", b"2", b"n")))
    assert written(file) == []
    writer.clear()
    writer.commit(2, 20, 0)
    assert written(file) == []
    writer.change(Insert(BARE, (b"1", b"2", b"n")))
    writer.commit(3, 30, 0)
    assert written(file) == ["BEGIN; --", "INSERT INTO", "COMMIT; --"]


def test_truncates_of_one_statement_become_one() -> None:
    file = io.BytesIO()
    writer = SqlWriter(file, endpos=0)
    first, second = (Relation("public", name, (), ()) for name in ("a", "b"))
    writer.change(Truncate((first,)))
    writer.change(Truncate((second,)))
    writer.change(Insert(BARE, (b"1", b"2", b"n")))
    writer.change(Truncate((first,)))
    writer.change(Truncate((second,), cascade=True))
    writer.commit(1, 10, 0)
    assert written(file) == [
        "BEGIN; --",
        "TRUNCATE ONLY",
        "INSERT INTO",
        "TRUNCATE ONLY",
        "TRUNCATE ONLY",
        "COMMIT; --",
    ]
    assert b'TRUNCATE ONLY "public"."a", ONLY "public"."b";' in file.getvalue()


def test_nothing_beyond_endpos_is_written() -> None:
    file = io.BytesIO()
    writer = SqlWriter(file, endpos=20)
    for xid, end in ((1, 10), (2, 20), (3, 21)):
        writer.change(Insert(BARE, (b"1", b"2", b"n")))
        writer.commit(xid, end, 0)
    writer.finish()
    assert writer.past_endpos
    assert written(file).count("INSERT INTO") == 2
    assert file.getvalue().endswith(b'-- {"complete":"0/14"}\n')
