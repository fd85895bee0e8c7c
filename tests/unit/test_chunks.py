"""The short ways through the change path give what the long ones do."""

import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgcopydb.cdc.chunks import ChunkAssembler, Cut
from pgcopydb.decoding import MESSAGE_HEADER, PgoutputDecoder, commit_end, make_decoder
from pgcopydb.errors import ProtocolError
from pgcopydb.model.changes import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Completed,
    Insert,
    Relation,
    Row,
    Update,
)
from pgcopydb.model.options import Plugin
from pgcopydb.workdir.changelog import Chunk
from tests.golden import forms


def message(frame: tuple[int, bytes]) -> bytes:
    wal_start, payload = frame
    return b"w" + struct.pack(">QQq", wal_start, 0, 0) + payload


FRAMES = forms.read_frames(Plugin.PGOUTPUT)
MESSAGES = [message(frame) for frame in FRAMES]
RELATIONS = [frame for frame in MESSAGES if frame[MESSAGE_HEADER] in b"RY"]
ENDS = [end for at, payload in FRAMES if (end := commit_end(Plugin.PGOUTPUT)(payload, at))]


@dataclass(frozen=True)
class Rows:
    """Gives what it takes as changes of ``relation``."""

    relation: Relation
    take: Callable[[Change], None]

    def insert(self, new: Row) -> None:
        self.take(Insert(self.relation, new))

    def update(self, new: Row) -> None:
        assert UNCHANGED not in new
        self.take(Update(self.relation, None, new))

    def update_partly(self, new: Row) -> None:
        assert UNCHANGED in new
        self.take(Update(self.relation, None, new))


def decode_at_once(
    messages: Sequence[bytes], decoder: PgoutputDecoder | None = None
) -> tuple[list[Change], Completed]:
    found: list[Change] = []
    completed = (decoder or PgoutputDecoder()).decode_into(
        b"in front" + b"".join(messages),
        8,
        list(map(len, messages)),
        lambda relation: Rows(relation, found.append),
        found.append,
    )
    return found, completed


def test_whole_transactions_decode_to_the_same_changes() -> None:
    decoder = make_decoder(Plugin.PGOUTPUT)
    decoded = [decoder.decode(payload, at) for at, payload in FRAMES]
    expected = [change for change in decoded if not isinstance(change, Begin | Commit | None)]
    found, completed = decode_at_once(MESSAGES)
    assert found == expected
    last = [change for change in decoded if isinstance(change, Commit)][-1]
    assert (completed.end_lsn, completed.commit_time) == (last.end_lsn, last.commit_time)
    assert completed.transactions == len(ENDS)
    assert 0 < completed.rows < len(found)


def test_the_middle_of_a_transaction_decodes_to_the_same_changes() -> None:
    """As the slices of one that is too large for a chunk: first and last message come apart."""
    one_by_one, at_once = make_decoder(Plugin.PGOUTPUT), PgoutputDecoder()
    expected: list[Change] = []
    found: list[Change] = []
    middle: list[bytes] = []
    for frame in MESSAGES:
        change = one_by_one.decode(frame[MESSAGE_HEADER:], 0)
        if frame[MESSAGE_HEADER] not in b"BC":
            middle.append(frame)
            expected += [change] if change is not None else []
            continue
        changes, completed = decode_at_once(middle, at_once)
        assert (completed.transactions, completed.end_lsn) == (0, 0)
        found += changes
        middle = []
        at_once.decode(frame[MESSAGE_HEADER:], 0)
    assert found == expected


def wide_row(kind: bytes, values: Sequence[bytes | object | None]) -> bytes:
    """Return a change of relation 7, with as many columns as ``values``."""
    parts = []
    for value in values:
        if isinstance(value, bytes):
            parts.append(b"t" + struct.pack(">I", len(value)) + value)
        else:
            parts.append(b"n" if value is None else b"u")
    payload = kind + struct.pack(">I", 7) + b"N" + struct.pack(">H", len(values)) + b"".join(parts)
    return message((0, payload))


LONG = st.integers(0, 3).flatmap(
    lambda n: st.sampled_from([b"", b"x" * 255, b"x" * 256, b"\0t" * 40_000][n : n + 1])
)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([b"I", b"U"]),
            st.lists(st.one_of(LONG, st.none(), st.just(UNCHANGED)), min_size=2, max_size=2),
        ),
        max_size=8,
    )
)
def test_wide_rows_decode_to_the_same_changes(
    rows: list[tuple[bytes, list[bytes | object | None]]],
) -> None:
    columns = b"".join(b"\0" + name + b"\0" + struct.pack(">Ii", 25, -1) for name in (b"a", b"b"))
    relation = b"R" + struct.pack(">I", 7) + b"public\0wide\0d" + struct.pack(">H", 2) + columns
    messages = [message((0, relation)), *(wide_row(kind, values) for kind, values in rows)]
    decoder = make_decoder(Plugin.PGOUTPUT)
    decoded = [decoder.decode(one[MESSAGE_HEADER:], 0) for one in messages]
    found, _ = decode_at_once(messages)
    assert found == [change for change in decoded if change is not None]


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_damaged_message_among_them_is_a_protocol_error_or_changes(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(MESSAGES) - 1))
    whole = MESSAGES[number]
    at = data.draw(st.integers(MESSAGE_HEADER, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(max_size=5)) + whole[at + 1 :]
    if len(damaged) <= MESSAGE_HEADER:
        return
    with suppress(ProtocolError):
        decode_at_once([*RELATIONS, *MESSAGES[max(0, number - 9) : number], damaged])


@pytest.mark.parametrize("cut", [1, 5])
def test_a_row_that_lost_its_end_is_an_error(cut: int) -> None:
    decoder = PgoutputDecoder()
    for frame in MESSAGES:
        if frame[MESSAGE_HEADER] in b"IU":
            decode_at_once([frame], decoder)
            with pytest.raises(ProtocolError):
                decode_at_once([frame[:-cut]], decoder)
        elif frame[MESSAGE_HEADER] in b"RY":
            decode_at_once([frame], decoder)


def assembled(batches: Sequence[Sequence[bytes]], *, endpos: int, chunk_bytes: int) -> list[Cut]:
    assembler = ChunkAssembler(Plugin.PGOUTPUT, chunk_bytes=chunk_bytes)
    assembler.endpos = endpos
    cuts: list[Cut] = []
    for batch in batches:
        assembler.add(batch)
        while assembler.is_full and (cut := assembler.cut()) is not None:
            cuts.append(cut)
        if assembler.past_endpos:
            break
    while (cut := assembler.cut()) is not None:
        cuts.append(cut)
    return cuts


@settings(max_examples=50, deadline=None)
@given(
    data=st.data(),
    chunk_bytes=st.sampled_from([1, 300, 5_000, 1 << 20]),
    endpos=st.sampled_from([0, *ENDS, ENDS[3] + 1]),
)
def test_messages_are_cut_alike_however_they_come(
    data: st.DataObject, chunk_bytes: int, endpos: int
) -> None:
    """Each whole transaction up to endpos is in one chunk, or in slices that follow each other."""
    sizes = data.draw(st.lists(st.integers(1, 200), min_size=1, max_size=30))
    batches = split(MESSAGES, sizes)
    cuts = assembled(batches, endpos=endpos, chunk_bytes=chunk_bytes)
    wanted = [end for end in ENDS if not endpos or end <= endpos]
    until = inside(MESSAGES[: 1 + max((last_index(end) for end in wanted), default=-1)])
    assert sum(cut.transactions for cut in cuts) == len(wanted)
    assert [cut.end_lsn for cut in cuts if cut.final][-1:] == wanted[-1:]
    stored = [frame for cut in cuts for frame in messages_of(cut)]
    assert stored[: len(until)] == until
    expected_slice = 0
    for cut in cuts:
        assert cut.slice_number in ({None, 0} if not expected_slice else {expected_slice})
        kinds = bytes(frame[MESSAGE_HEADER] for frame in messages_of(cut))
        if cut.slice_number is None:
            assert kinds.count(b"B") == kinds.count(b"C") == cut.transactions
        assert len(cut.relations) == kinds.count(b"R") + kinds.count(b"Y")
        expected_slice = 0 if cut.final else expected_slice + 1


def messages_of(cut: Cut) -> list[bytes]:
    """Return the messages that are stored as a chunk."""
    chunk = Chunk(1, 1, cut.slice_number, cut.final, cut.end_lsn, cut.transactions, cut.frames)
    packed = chunk.packed()
    ends = list(accumulate(packed.lengths, initial=packed.start))
    return [packed.data[start:end] for start, end in pairwise(ends)]


def inside(messages: Sequence[bytes]) -> list[bytes]:
    """Return the messages that are part of a transaction."""
    found: list[bytes] = []
    is_open = False
    for frame in messages:
        kind = frame[MESSAGE_HEADER]
        is_open = is_open or kind == b"B"[0]
        if is_open:
            found.append(frame)
        is_open = is_open and kind != b"C"[0]
    return found


def split(stream: Sequence[bytes], sizes: Sequence[int]) -> list[Sequence[bytes]]:
    batches: list[Sequence[bytes]] = []
    at = 0
    while at < len(stream):
        size = sizes[len(batches) % len(sizes)]
        batches.append(stream[at : at + size])
        at += size
    return batches


def last_index(end: int) -> int:
    return next(
        number
        for number, (at, payload) in enumerate(FRAMES)
        if commit_end(Plugin.PGOUTPUT)(payload, at) == end
    )
