"""Where transactions begin and end in a stream of frames, without decoding it.

These are called for every frame in the receive loop, so each is one comparison of leading bytes.
"""

import struct
from collections.abc import Callable
from typing import Final

from pgcopydb.errors import ProtocolError
from pgcopydb.model.options import Plugin

MESSAGE_HEADER: Final = 25
"""Bytes of an XLogData message before its payload: type, WAL start, WAL end, the server's clock."""

_U64: Final = struct.Struct(">Q").unpack_from
_PGOUTPUT_END_AT = 10  # after the type byte, the flags and the commit record's position
_PGOUTPUT_COMMIT_BYTES: Final = 26


def _pgoutput_commit_end(payload: bytes, wal_start: int) -> int:  # noqa: ARG001 - one signature for all
    if payload[0] != 67:
        return 0
    if len(payload) != _PGOUTPUT_COMMIT_BYTES:
        raise ProtocolError(f"pgoutput: a COMMIT of {len(payload)} bytes")
    end: int = _U64(payload, _PGOUTPUT_END_AT)[0]
    return end


def _wal2json_commit_end(payload: bytes, wal_start: int) -> int:
    return wal_start if payload.startswith(b'{"action":"C"') else 0


def _test_decoding_commit_end(payload: bytes, wal_start: int) -> int:
    return wal_start if payload.startswith(b"COMMIT ") else 0


def _pgoutput_begins(payload: bytes) -> bool:
    return payload[0] == 66


def _wal2json_begins(payload: bytes) -> bool:
    return payload.startswith(b'{"action":"B"')


def _test_decoding_begins(payload: bytes) -> bool:
    return payload.startswith(b"BEGIN ")


_COMMIT_ENDS: Final[dict[Plugin, Callable[[bytes, int], int]]] = {
    Plugin.PGOUTPUT: _pgoutput_commit_end,
    Plugin.TEST_DECODING: _test_decoding_commit_end,
    Plugin.WAL2JSON: _wal2json_commit_end,
}

_BEGINS: Final[dict[Plugin, Callable[[bytes], bool]]] = {
    Plugin.PGOUTPUT: _pgoutput_begins,
    Plugin.TEST_DECODING: _test_decoding_begins,
    Plugin.WAL2JSON: _wal2json_begins,
}


def commit_end(plugin: Plugin) -> Callable[[bytes, int], int]:
    """Return the function (payload, wal_start) -> end LSN of a COMMIT frame, 0 for any other.

    The payload must not be empty. test_decoding and wal2json write their COMMIT with the end of
    the commit record as the frame's own position (correctness M9); pgoutput says it inside.
    The function raises ProtocolError for a COMMIT that is cut off.
    """
    return _COMMIT_ENDS[plugin]


def begins(plugin: Plugin) -> Callable[[bytes], bool]:
    """Return the function payload -> whether this frame is a BEGIN. No payload may be empty."""
    return _BEGINS[plugin]


def is_relation_frame(payload: bytes) -> bool:
    """Return whether a pgoutput payload describes a relation (R) or a type (Y)."""
    return payload[0] in b"RY"
