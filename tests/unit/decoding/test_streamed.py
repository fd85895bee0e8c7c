"""Recorded transactions in progress (pgoutput's version 2) come to what version 1 tells of them."""

from collections import Counter

import pytest

from pgcopydb.decoding.streaming import (
    StreamAbort,
    StreamCommit,
    StreamedChanges,
    StreamSplitter,
    StreamStart,
    StreamStop,
)
from pgcopydb.errors import ProtocolError
from tests.golden import forms, streamed


def test_put_together_they_are_the_transactions_of_version_1() -> None:
    whole = list(streamed.whole_transactions())
    expected = (forms.HERE / "streamed.changes").read_text()
    assert streamed.changes_text(whole).splitlines() == expected.splitlines()


def test_the_recording_has_each_kind_of_part() -> None:
    """And what was rolled back came, too: otherwise nothing would show that it is left out."""
    found = streamed.parts()
    kinds = Counter(type(part) for part in found)
    assert kinds[StreamStart] == kinds[StreamStop] > kinds[StreamCommit] >= 4
    assert kinds[StreamedChanges] > 0
    aborts = [part for part in found if isinstance(part, StreamAbort)]
    assert any(one.xid == one.subtransaction for one in aborts)
    assert any(one.xid != one.subtransaction for one in aborts)
    recorded = b"".join(payload for _, payload in forms.read_frames("streamed"))
    assert b"taken back" in recorded
    assert b"never" in recorded


@pytest.mark.parametrize("kind", [b"S", b"E", b"A", b"c"])
def test_a_control_message_that_is_cut_is_refused(kind: bytes) -> None:
    """At every length, wherever the stream stands; a Stream Stop has but its type."""
    cut = 0
    splitter = StreamSplitter()
    for message in streamed.messages():
        if message[25:26] == kind:
            for length in range(26, len(message)):
                other = StreamSplitter()
                other.in_block = splitter.in_block
                with pytest.raises(ProtocolError):
                    list(other.split([message[:length]]))
                cut += 1
        list(splitter.split([message]))
    assert cut > 0 or kind == b"E"
