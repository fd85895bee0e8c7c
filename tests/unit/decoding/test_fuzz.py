"""Whatever bytes come: a change, nothing, or a protocol error; never anything else."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgcopydb.cdc.chunks import ChunkAssembler
from pgcopydb.decoding import MESSAGE_HEADER, Decoder, make_decoder
from pgcopydb.decoding.jsonlines import JsonLinesEncoder
from pgcopydb.errors import ProtocolError
from pgcopydb.model.options import Plugin
from tests.golden import forms

FRAMES = {plugin: forms.read_frames(plugin) for plugin in Plugin}
STARTS = {
    Plugin.PGOUTPUT: [bytes([kind]) for kind in b"BCORYIUDTM"],
    Plugin.TEST_DECODING: [
        b"BEGIN 1", b"COMMIT 1", b"table ", b"table a.b: INSERT:", b"table a.b: UPDATE: old-key:",
        b"table a.b: DELETE: (no", b"table a.b: TRUNCATE: ", b"message: transactional: 1 prefix: ",
        b'table "', b"table a.b: INSERT: c[", b"table a.b: INSERT: c[text]:'",
    ],
    Plugin.WAL2JSON: [
        b"{", b'{"action":"', b'{"action":"B","xid":1,"timestamp":"',
        b'{"action":"I","schema":"a","table":"b","columns":[{"name":"c","type":"d","value":',
        b'{"action":"M","transactional":true,"prefix":"","content":',
        b'{"action":"C","xid":1,"nextlsn":"',
    ],
}  # fmt: skip
PLUGINS = pytest.mark.parametrize("plugin", list(Plugin))


def outcome(decoder: Decoder, payload: bytes, wal_start: int = 1) -> None:
    with suppress(ProtocolError):
        change = decoder.decode(payload, wal_start)
        if change is not None:
            JsonLinesEncoder().encode(change, wal_start)


@PLUGINS
@pytest.mark.parametrize("encoding", ["utf-8", "LATIN1", "EUC_KR"])
@given(data=st.data())
def test_random_bytes(plugin: Plugin, encoding: str, data: st.DataObject) -> None:
    start = data.draw(st.sampled_from([b"", *STARTS[plugin]]))
    outcome(make_decoder(plugin, None, encoding), start + data.draw(st.binary(max_size=60)))


@PLUGINS
@settings(max_examples=300)
@given(data=st.data())
def test_mutated_frames(plugin: Plugin, data: st.DataObject) -> None:
    decoder = make_decoder(plugin, forms.read_identities())
    frames = FRAMES[plugin]
    first = data.draw(st.integers(0, len(frames) - 1))
    for wal_start, payload in frames[: first + 1][-8:]:
        outcome(decoder, payload, wal_start)
    outcome(decoder, mutated(frames[first][1], data))


@PLUGINS
@settings(max_examples=50)
@given(data=st.data())
def test_a_stream_with_frames_lost_repeated_or_moved(plugin: Plugin, data: st.DataObject) -> None:
    """Each frame is whole, but not what the one before it announced."""
    decoder = make_decoder(plugin, forms.read_identities())
    frames = FRAMES[plugin]
    positions = data.draw(st.lists(st.integers(0, len(frames) - 1), max_size=60))
    for position in positions:
        wal_start, payload = frames[position]
        outcome(decoder, payload, wal_start)


@PLUGINS
@settings(max_examples=200)
@given(data=st.data())
def test_random_frames_are_stored_or_refused(plugin: Plugin, data: st.DataObject) -> None:
    """What looks for the boundaries only sees every frame first."""
    assembler = ChunkAssembler(plugin, chunk_bytes=data.draw(st.sampled_from([1, 50, 1 << 20])))
    whole = st.sampled_from(FRAMES[plugin]).map(lambda frame: frame[1])
    starts = st.sampled_from(STARTS[plugin])
    damaged = st.tuples(starts, st.binary(max_size=30)).map(b"".join)
    for payloads in data.draw(st.lists(st.lists(whole | damaged, max_size=9), max_size=9)):
        try:
            assembler.add([bytes(MESSAGE_HEADER) + payload for payload in payloads])
        except ProtocolError:
            return
        cut = assembler.cut() if assembler.is_full else None
        assert cut is None or cut.frames


def mutated(payload: bytes, data: st.DataObject) -> bytes:
    at = data.draw(st.integers(0, len(payload)))
    end = data.draw(st.integers(at, min(len(payload), at + 9)))
    other = data.draw(
        st.binary(max_size=9) | st.sampled_from([b"'", b'"', b"\\", b",", b"\xff" * 4])
    )
    return payload[:at] + other + payload[end:]


@pytest.mark.parametrize("size", [0, 1, 5, 100])
def test_every_cut_of_a_pgoutput_frame_is_an_error(size: int) -> None:
    """A frame that lost its end never passes for a shorter one."""
    decoder = make_decoder(Plugin.PGOUTPUT)
    for wal_start, payload in FRAMES[Plugin.PGOUTPUT]:
        shorter = payload[: -size or None] if size else payload + b"\0"
        if len(payload) > size:
            with pytest.raises(ProtocolError):
                decoder.decode(shorter, wal_start)
        decoder.decode(payload, wal_start)


def test_deeply_nested_json_is_an_error() -> None:
    start = b'{"action":"I","schema":"s","table":"t","columns":[{"name":"c","type":"t","value":'
    with pytest.raises(ProtocolError):
        make_decoder(Plugin.WAL2JSON).decode(start + b"[" * 100_000, 1)
