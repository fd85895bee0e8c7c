"""The recorded bytes of each plugin give the recorded changes, and these the recorded lines.

The files are made by ``python -m tests.golden.record``.
"""

import pytest

from pgcopydb.decoding import begins, commit_end, is_relation_frame, make_decoder
from pgcopydb.model.changes import Begin, Change, Commit, Insert
from pgcopydb.model.options import Plugin
from tests.golden import forms
from tests.golden.canonical import Canonical, canonical, canonical_work

PLUGINS = pytest.mark.parametrize("plugin", list(Plugin))

# Columns whose NaN and infinities wal2json 2.5 prints as null, without a way to ask otherwise.
LOST_BY_WAL2JSON = {("public", "specials", name) for name in ("n", "f4", "f8")}


@PLUGINS
def test_frames_become_changes(plugin: Plugin) -> None:
    expected = (forms.HERE / f"{plugin}.changes").read_text()
    assert forms.changes_text(plugin).splitlines() == expected.splitlines()


@PLUGINS
def test_changes_become_json_lines(plugin: Plugin) -> None:
    expected = (forms.HERE / f"{plugin}.jsonl").read_bytes()
    assert forms.jsonl_bytes(plugin).splitlines() == expected.splitlines()


@PLUGINS
def test_json_lines_become_the_same_changes(plugin: Plugin) -> None:
    reader = make_decoder(Plugin.WAL2JSON)
    lines = (forms.HERE / f"{plugin}.jsonl").read_bytes().splitlines()
    read = [change for line in lines if (change := reader.decode(line, 0)) is not None]
    assert [canonical(change) for change in read] == [
        canonical(change) for _, change in forms.decoded(plugin)
    ]


@PLUGINS
def test_boundaries_agree_with_the_decoder(plugin: Plugin) -> None:
    decoder = make_decoder(plugin, forms.read_identities())
    ends, starts = commit_end(plugin), begins(plugin)
    commits = 0
    for wal_start, payload in forms.read_frames(plugin):
        change = decoder.decode(payload, wal_start)
        assert ends(payload, wal_start) == (change.end_lsn if isinstance(change, Commit) else 0)
        assert starts(payload) is isinstance(change, Begin)
        commits += isinstance(change, Commit)
        if plugin is Plugin.PGOUTPUT:
            assert is_relation_frame(payload) is (change is None)
    assert commits > 50


def test_a_decoder_primed_with_stored_relations_reads_the_rest() -> None:
    frames = forms.read_frames(Plugin.PGOUTPUT)
    decoder = make_decoder(Plugin.PGOUTPUT)
    for wal_start, payload in frames:
        if is_relation_frame(payload):
            assert decoder.decode(payload, wal_start) is None
    first_inserts = [p for _, p in frames if p[:1] == b"I"][:3]
    assert all(isinstance(decoder.decode(payload, 1), Insert) for payload in first_inserts)


def test_test_decoding_tells_the_same_work_as_pgoutput() -> None:
    assert work(Plugin.TEST_DECODING) == work(Plugin.PGOUTPUT)


def test_wal2json_tells_the_same_work_as_pgoutput_but_for_nan_and_bytes_after_a_zero() -> None:
    expected = [as_wal2json_can(form) for form in work(Plugin.PGOUTPUT)]
    assert work(Plugin.WAL2JSON) == expected


def work(plugin: Plugin) -> list[Canonical]:
    changes: list[Change] = [change for _, change in forms.decoded(plugin)]
    return canonical_work(changes)


def as_wal2json_can(form: Canonical) -> Canonical:
    if form[0] == "message":
        return (*form[:-1], form[-1].partition(b"\0")[0])
    if form[0] == "insert":
        schema, table = form[1:3]
        row = {
            name: None if (schema, table, name) in LOST_BY_WAL2JSON else value
            for name, value in form[-1].items()
        }
        return (*form[:-1], row)
    return form
