"""What each plugin's bytes mean, case by case; each frame is one that PostgreSQL 15 sent."""

import struct

import pytest

from pgcopydb.decoding import Decoder, make_decoder
from pgcopydb.errors import ProtocolError, StateError
from pgcopydb.model.changes import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Delete,
    Identities,
    Identity,
    Insert,
    Message,
    Relation,
    Truncate,
    Update,
)
from pgcopydb.model.options import Plugin

FULL: Identities = {("public", "fu"): Identity(("a", "b", "c"), full=True)}
KEY: Identities = {("public", "t"): Identity(("id",))}


def pgoutput(*frames: bytes) -> list[Change | None]:
    decoder = make_decoder(Plugin.PGOUTPUT)
    return [decoder.decode(frame, 0) for frame in frames]


def text(line: str, identities: Identities | None = None) -> Change | None:
    return make_decoder(Plugin.TEST_DECODING, identities).decode(line.encode(), 0x20)


def json(line: str, identities: Identities | None = None) -> Change | None:
    return make_decoder(Plugin.WAL2JSON, identities).decode(line.encode(), 0x20)


def described(identity: bytes = b"d", flag: int = 1) -> bytes:
    column = b"id\0" + struct.pack(">Ii", 23, -1)
    return b"R\0\0\0\x07public\0t\0" + identity + b"\0\x01" + bytes([flag]) + column


def value(data: bytes) -> bytes:
    return b"\0\x01t" + struct.pack(">I", len(data)) + data


# --- pgoutput


def test_pgoutput_transaction() -> None:
    begin = b"B\0\0\0\0\x02\xb9g(\0\x03\x03\xf461\xcc\n\0\0\x03\xf0"
    commit = b"C\0\0\0\0\0\x02\xb9g(\0\0\0\0\x02\xb9gX\0\x03\x03\xf461\xcc\n"
    first, last = pgoutput(begin, commit)
    assert isinstance(first, Begin)
    assert isinstance(last, Commit)
    assert (first.xid, first.lsn) == (1008, 0x2B96728)
    assert (last.xid, last.end_lsn) == (1008, 0x2B96758)
    assert first.commit_time == last.commit_time


def test_pgoutput_commit_without_its_begin_is_an_error() -> None:
    commit = b"C\0\0\0\0\0\x02\xb9g(\0\0\0\0\x02\xb9gX\0\x03\x03\xf461\xcc\n"
    with pytest.raises(ProtocolError, match="BEGIN"):
        pgoutput(commit)


def test_pgoutput_key_change_and_none() -> None:
    relation = Relation("public", "t", ("id",), ("integer",), (0,), modifiers=(-1,))
    changes = pgoutput(
        described(),
        b"U\0\0\0\x07K" + value(b"1") + b"N" + value(b"2"),
        b"U\0\0\0\x07N" + value(b"2"),
        b"D\0\0\0\x07K" + value(b"2"),
    )
    assert changes[1:] == [
        Update(relation, (b"1",), (b"2",)),
        Update(relation, None, (b"2",)),
        Delete(relation, (b"2",)),
    ]


def test_pgoutput_full_identity_has_no_key_positions() -> None:
    relation = Relation("public", "t", ("id",), ("integer",), (), full=True, modifiers=(-1,))
    changes = pgoutput(described(b"f"), b"U\0\0\0\x07O" + value(b"1") + b"N\0\x01u")
    assert changes[1] == Update(relation, (b"1",), (UNCHANGED,))


def test_pgoutput_full_identity_without_its_old_row_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="FULL"):
        pgoutput(described(b"f"), b"U\0\0\0\x07N" + value(b"1"))


def test_pgoutput_keeps_the_relation_object_until_it_changes() -> None:
    decoder = make_decoder(Plugin.PGOUTPUT)
    seen = []
    for frame in (described(), described(), described(flag=0)):
        decoder.decode(frame, 0)
        change = decoder.decode(b"I\0\0\0\x07N" + value(b"1"), 0)
        assert isinstance(change, Insert)
        seen.append(change.relation)
    assert seen[0] is seen[1]
    assert seen[2].key == ()


def test_pgoutput_truncate_of_unknown_relation_names_it() -> None:
    with pytest.raises(ProtocolError, match="99"):
        pgoutput(b"T\0\0\0\x01\0\0\0\0\x63")


def test_pgoutput_truncate_flags() -> None:
    _, change = pgoutput(described(), b"T\0\0\0\x01\x03\0\0\0\x07")
    assert isinstance(change, Truncate)
    assert (change.cascade, change.restart_identity) == (True, True)


def test_pgoutput_origin_gives_nothing() -> None:
    assert pgoutput(b"O\0\0\0\0\0\0\0\x01elsewhere\0") == [None]


# --- test_decoding


def test_text_values_hide_no_syntax() -> None:
    change = text(
        "table public.t: INSERT: id[integer]:1 a[text]:'it''s' b[text]:'null' c[text]:null"
        " d[bit]:B'0101' e[boolean]:true f[text]:''' new-tuple: x[text]:''''' g[text]:''"
        r" h[text]:'\N \''' i[numeric]:NaN j[text]:unchanged-toast-datum"
    )
    assert isinstance(change, Insert)
    assert change.new == (
        b"1", b"it's", b"null", None, b"0101", b"t", b"' new-tuple: x[text]:''", b"",
        b"\\N \\'", b"NaN", UNCHANGED,
    )  # fmt: skip


def test_text_names_and_types_with_every_syntax_in_them() -> None:
    change = text(
        'table "Odd Schema"."we\'ird.""t"": INSERT:": INSERT: "select"[integer]:1'
        ' "Col.umn [x]:"["Odd Schema"."pa]:ir"[]]:\'{}\' " "[timestamp without time zone]:null'
        " x[integer[]]:'[0:1]={1,2}' c[\"char\"]:''"
    )
    assert isinstance(change, Insert)
    relation = change.relation
    assert (relation.schema, relation.name) == ("Odd Schema", 'we\'ird."t": INSERT:')
    assert relation.columns == ("select", "Col.umn [x]:", " ", "x", "c")
    assert relation.types == (
        "integer", '"Odd Schema"."pa]:ir"[]', "timestamp without time zone", "integer[]", '"char"',
    )  # fmt: skip
    assert change.new == (b"1", b"{}", None, b"[0:1]={1,2}", b"")


def test_text_shape_of_a_table_may_change() -> None:
    decoder = make_decoder(Plugin.TEST_DECODING, KEY)
    rows = [
        "id[integer]:1 a[text]:'x'",
        "id[integer]:2 a[text]:'y'",
        "id[integer]:3 a[text]:'y' b[integer]:null",
        "id[integer]:4",
        "id[bigint]:5",
    ]
    changes = [decoder.decode(f"table public.t: INSERT: {row}".encode(), 1) for row in rows]
    inserts = [change for change in changes if isinstance(change, Insert)]
    assert inserts[0].relation is inserts[1].relation
    assert [insert.new for insert in inserts] == [
        (b"1", b"x"), (b"2", b"y"), (b"3", b"y", None), (b"4",), (b"5",),
    ]  # fmt: skip
    assert inserts[-1].relation.types == ("bigint",)


def test_text_key_comes_from_the_identities() -> None:
    line = "table public.t: UPDATE: id[integer]:1 a[text]:'x'"
    change = text(line, KEY)
    assert isinstance(change, Update)
    assert (change.relation.key, change.old) == ((0,), None)


def test_text_key_change() -> None:
    change = text(
        "table public.t: UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:5 s[text]:'x'", KEY
    )
    assert isinstance(change, Update)
    assert (change.relation.key, change.old, change.new) == ((0,), (b"1", None), (b"5", b"x"))


def test_text_old_columns_are_the_identity_that_a_table_was_given_since() -> None:
    """No stream tells ALTER TABLE … REPLICA IDENTITY; this one shows what came of it at times."""
    change = text(
        "table public.t: UPDATE: old-key: s[text]:'x' new-tuple: id[integer]:5 s[text]:'y'", KEY
    )
    assert isinstance(change, Update)
    assert (change.relation.key, change.old, change.new) == ((1,), (None, b"x"), (b"5", b"y"))
    change = text("table public.t: DELETE: s[text]:'y'", KEY)
    assert isinstance(change, Delete)
    assert (change.relation.columns, change.relation.key, change.old) == (("s",), (0,), (b"y",))
    wider = text("table public.t: DELETE: id[integer]:5 s[text]:'y'", KEY)
    assert isinstance(wider, Delete)
    assert (wider.relation.key, wider.old) == ((0,), (b"5", b"y"))


def test_text_identity_that_is_full_no_longer_is_refused() -> None:
    with pytest.raises(StateError, match="another replica identity"):
        text("table public.fu: UPDATE: a[integer]:2 b[text]:null", FULL)


def test_text_full_old_row_leaves_out_its_nulls() -> None:
    change = text(
        "table public.fu: UPDATE: old-key: a[integer]:1 c[text]:'x'"
        " new-tuple: a[integer]:2 b[text]:unchanged-toast-datum c[text]:null",
        FULL,
    )
    assert isinstance(change, Update)
    assert change.relation.full
    assert (change.old, change.new) == ((b"1", None, b"x"), (b"2", UNCHANGED, None))


@pytest.mark.parametrize("seen_before", [True, False])
def test_text_full_delete_has_its_nulls_back(seen_before: bool) -> None:
    decoder = make_decoder(Plugin.TEST_DECODING, FULL)
    if seen_before:
        decoder.decode(b"table public.fu: INSERT: a[integer]:2 b[text]:'x' c[text]:null", 1)
    change = decoder.decode(b"table public.fu: DELETE: a[integer]:2", 1)
    assert isinstance(change, Delete)
    assert (change.relation.columns, change.old) == (("a", "b", "c"), (b"2", None, None))


def test_text_full_old_row_of_nulls_is_printed_as_nothing() -> None:
    update = text("table public.fu: UPDATE: old-key: new-tuple: a[integer]:2 b[text]:null", FULL)
    assert isinstance(update, Update)
    assert (update.old, update.new) == ((None, None), (b"2", None))
    delete = text("table public.fu: DELETE:", FULL)
    assert isinstance(delete, Delete)
    assert delete.old == (None, None, None)


def test_text_delete_without_identity_says_so_by_having_no_key() -> None:
    change = text("table public.nokey: DELETE: (no-tuple-data)")
    assert change == Delete(Relation("public", "nokey", (), ()), ())


def test_text_truncate() -> None:
    change = text('table public.a, "B, C"."d: e": TRUNCATE: restart_seqs cascade')
    assert isinstance(change, Truncate)
    assert [(r.schema, r.name) for r in change.relations] == [("public", "a"), ("B, C", "d: e")]
    assert (change.cascade, change.restart_identity) == (True, True)


def test_text_message_is_measured_by_its_size() -> None:
    start = b"message: transactional: 0 prefix: a, sz: 1 content:, sz: "
    change = make_decoder(Plugin.TEST_DECODING).decode(start + b"4 content:\xff\0A\xff", 1)
    assert change == Message(False, "a, sz: 1 content:", b"\xff\0A\xff")


def test_text_commit_ends_at_its_frames_position() -> None:
    change = text("COMMIT 731 (at 2026-11-23 17:52:40.519701+00)")
    assert change == Commit(731, 0x20, 1_795_456_360_519_701)


@pytest.mark.parametrize(
    "line",
    [
        "", "BEGIN", "BEGIN x", "COMMIT", "COMMIT 1 (at today)", "table ",
        "table t: INSERT: a[b]:1",
        "table a.b: UPSERT: a[b]:1", "table a.b: INSERT: a[b]:'x", "table a.b: INSERT: a[b]:",
        "table a.b: INSERT: a[b", "table a.b: INSERT: (no-tuple-data)",
        "table a.b: UPDATE: old-key: a[b]:1", "table a.b: TRUNCATE: sometimes",
        "message: transactional: 1 prefix: p, sz: 5 content:abc", "opening a streamed block",
        "table a.b: INSERT: a[b]:'x'y", "table a.b: INSERT: a[b]:B'01",
        'table "a.b: INSERT: a[b]:1',
    ],
)  # fmt: skip
def test_text_that_is_no_line_is_an_error(line: str) -> None:
    with pytest.raises(ProtocolError):
        text(line)


# --- wal2json

COLUMN = '{"name":"id","type":"integer","value":1}'
ROW = f'"schema":"public","table":"t","columns":[{COLUMN}'


def test_json_commit_ends_at_nextlsn() -> None:
    line = (
        '{"action":"C","xid":731,"timestamp":"2026-11-23 17:52:40.519701+00",'
        '"lsn":"0/162CDA0","nextlsn":"0/162CDD0"}'
    )
    assert json(line) == Commit(731, 0x162CDD0, 1_795_456_360_519_701)


@pytest.mark.parametrize(
    ("kind", "printed", "expected"),
    [
        ("numeric(40,20)", "12345678901234567890.12345678901234567890", None),
        ("double precision", "1e+300", None),
        ("boolean", "true", b"t"),
        ("boolean", "false", b"f"),
        ("text", '"true"', b"true"),
        ("text", r'"a\"b\\c\u0001\n"', b'a"b\\c\x01\n'),
        ("bytea", '"00ff"', b"\\x00ff"),
        ("bytea", '""', b"\\x"),
        ("bytea", r'"\\x00ff"', b"\\x00ff"),  # a domain over bytea
        ("bytea[]", r'"{\"\\\\x00\"}"', b'{"\\\\x00"}'),
        ("text", "null", b"<null>"),
    ],
)
def test_json_values(kind: str, printed: str, expected: bytes | None) -> None:
    change = json(
        f'{{"action":"I","schema":"s","table":"t","columns":'
        f'[{{"name":"a","type":"{kind}","value":{printed}}}]}}'
    )
    assert isinstance(change, Insert)
    wanted = None if expected == b"<null>" else expected or printed.encode()
    assert change.new == (wanted,)
    assert change.relation.types == (kind.partition("(")[0],)


def test_json_identity_that_did_not_change_is_none() -> None:
    change = json(f'{{"action":"U",{ROW}],"identity":[{COLUMN}]}}', KEY)
    assert isinstance(change, Update)
    assert (change.relation.key, change.relation.full, change.old) == ((0,), False, None)


def test_json_identity_that_changed() -> None:
    new = COLUMN.replace("1}", "2}")
    line = f'{{"action":"U","schema":"public","table":"t","columns":[{new}],"identity":[{COLUMN}]}}'
    change = json(line, KEY)
    assert isinstance(change, Update)
    assert (change.old, change.new) == ((b"1",), (b"2",))


def test_json_full_identity_tells_which_columns_are_unchanged() -> None:
    line = (
        '{"action":"U","schema":"public","table":"fu","columns":'
        '[{"name":"a","type":"integer","value":2},{"name":"c","type":"text","value":null}],'
        '"identity":[{"name":"a","type":"integer","value":1},'
        '{"name":"b","type":"text","value":"long"},{"name":"c","type":"text","value":null}]}'
    )
    for identities in (FULL, None):
        change = json(line, identities)
        assert isinstance(change, Update)
        assert change.relation.columns == ("a", "b", "c")
        assert change.relation.full
        assert (change.old, change.new) == ((b"1", b"long", None), (b"2", UNCHANGED, None))


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        (r'"\"Odd Schema\".mood[]"', '"Odd Schema".mood[]'),
        ('"Odd Schema".mood', '"Odd Schema".mood'),
        ('"Odd Schema"."pa]:ir"', '"Odd Schema"."pa]:ir"'),
        (r'"public.\"Mixed\""', 'public."Mixed"'),
        ('"we""ird".t', '"we""ird".t'),
    ],
)
def test_json_type_names_that_are_no_json_are_understood(printed: str, name: str) -> None:
    change = json(
        '{"action":"I","schema":"s","table":"t","columns":['
        f'{{"name":"a","type":{printed},"value":"v"}},{{"name":"b","type":"text","value":"\\"x"}}]}}'
    )
    assert isinstance(change, Insert)
    assert change.relation.types == (name, "text")
    assert change.new == (b"v", b'"x')


def test_json_message_outside_a_transaction() -> None:
    decoder = make_decoder(Plugin.WAL2JSON)
    line = (
        b'{"action":"M","xid":null,"timestamp":null,"lsn":"0/1","transactional":false,'
        b'"prefix":"p","content":"\xff\\n"}'
    )
    assert decoder.decode(line, 1) == Message(False, "p", b"\xff\n")


@pytest.mark.parametrize(
    "line",
    [
        "", "{", "[]", "null", '{"action":"X"}', '{"xid":1}', '{"action":"B"}',
        '{"action":"C","xid":1}'.replace("1}", '1,"nextlsn":"x"}'),
        '{"action":"B","xid":1,"timestamp":"today"}', f'{{"action":"U",{ROW}]}}',
        f'{{"action":"I",{ROW},{{"name":"a","type":"b","value":[1]}}]}}',
        f'{{"action":"I",{ROW},{{"name":"a","type":"b"}}]}}',
    ],
)  # fmt: skip
def test_json_that_is_no_line_is_an_error(line: str) -> None:
    with pytest.raises(ProtocolError):
        json(line)


def test_json_insert_whose_key_is_missing_is_an_error() -> None:
    with pytest.raises(ProtocolError, match='"id"'):
        json(f'{{"action":"I",{ROW.replace("id", "ID")}]}}', KEY)


# --- all


@pytest.mark.parametrize(
    ("plugin", "payload"),
    [
        (Plugin.TEST_DECODING, 'table public."tä": INSERT: "ö"[text]:\'ü\''),
        (
            Plugin.WAL2JSON,
            f'{{"action":"I",{ROW}]}}'.replace('"t"', '"tä"')
            .replace("id", "ö")
            .replace("1}", '"ü"}'),
        ),
    ],
)
def test_text_in_the_servers_encoding_comes_out_as_utf8(plugin: Plugin, payload: str) -> None:
    decoder: Decoder = make_decoder(plugin, None, "LATIN1")
    change = decoder.decode(payload.encode("latin-1"), 1)
    assert isinstance(change, Insert)
    assert (change.relation.name, change.relation.columns) == ("tä", ("ö",))
    assert change.new == ("ü".encode(),)


def test_messages_keep_their_bytes_whatever_the_encoding() -> None:
    payload = "message: transactional: 1 prefix: ü, sz: 2 content:äö".encode("latin-1")
    decoder = make_decoder(Plugin.TEST_DECODING, None, "LATIN1")
    assert decoder.decode(payload, 1) == Message(True, "ü", "äö".encode("latin-1"))
