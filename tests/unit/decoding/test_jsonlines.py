"""JSON lines: what is written is what is read back, and a reader of wal2json understands it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcopydb.decoding import make_decoder
from pgcopydb.decoding.jsonlines import JsonLinesEncoder
from pgcopydb.errors import ProtocolError
from pgcopydb.model.changes import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Delete,
    Insert,
    Message,
    Relation,
    Truncate,
    Update,
    Value,
)
from pgcopydb.model.options import Plugin

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NAMES = TEXT.filter(bool)
NUMBERS = st.one_of(
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda number: f"{number:f}"),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "1e+300", "5e-324", "-0", "0.100"]),
)
VALUES = {
    "numeric": NUMBERS.map(str.encode),
    "integer": st.integers().map(lambda number: str(number).encode()),
    "boolean": st.sampled_from([b"t", b"f"]),
    "bytea": st.binary(max_size=9).map(lambda value: b"\\x" + value.hex().encode()),
    "text": TEXT.map(str.encode),
    'public."Odd (type)"': TEXT.map(str.encode),
    "": TEXT.map(str.encode),
}
WIDE = Relation("public", "t", ("id", "a", "b"), ("integer", "text", "bytea"), (0,))
FULL = Relation("public", "t", ("id", "a", "b"), ("integer", "text", "bytea"), (), True)
ALL_KEY = Relation("public", "pairs", ("a", "b"), ("integer", "integer"), (0, 1))


def lines_of(*changes: Change) -> list[bytes]:
    encoder = JsonLinesEncoder()
    return b"".join(encoder.encode(change, 0x16B3748) for change in changes).splitlines()


def read_back(change: Change) -> list[Change]:
    reader = make_decoder(Plugin.WAL2JSON)
    return [read for line in lines_of(change) if (read := reader.decode(line, 0)) is not None]


@st.composite
def relations(draw: st.DrawFn) -> Relation:
    columns = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    types = [draw(st.sampled_from(sorted(VALUES))) for _ in columns]
    full = draw(st.booleans())
    chosen = draw(st.lists(st.sampled_from(range(len(columns))), min_size=1, unique=True))
    key = () if full else tuple(sorted(chosen))
    return Relation(draw(NAMES), draw(NAMES), tuple(columns), tuple(types), key, full)


def a_row(draw: st.DrawFn, relation: Relation, *, null: bool = True) -> tuple[Value, ...]:
    return tuple(
        draw(VALUES[name] if position in relation.key or not null else VALUES[name] | st.none())
        for position, name in enumerate(relation.types)
    )


@st.composite
def row_changes(draw: st.DrawFn) -> Change:
    relation = draw(relations())
    new = a_row(draw, relation)
    kind = draw(st.sampled_from(["insert", "update", "same", "delete"]))
    if kind == "insert":
        return Insert(relation, new)
    old = a_row(draw, relation)
    if relation.full:
        return Delete(relation, old) if kind == "delete" else Update(relation, old, new)
    old = tuple(v if position in relation.key else None for position, v in enumerate(old))
    if kind == "delete":
        return Delete(of_key(relation), tuple(old[position] for position in relation.key))
    same = all(old[position] == new[position] for position in relation.key)
    return Update(relation, None if same or kind == "same" else old, new)


def of_key(relation: Relation) -> Relation:
    """A DELETE line names the columns of the key only."""
    return Relation(
        relation.schema,
        relation.name,
        tuple(relation.columns[position] for position in relation.key),
        tuple(relation.types[position] for position in relation.key),
        tuple(range(len(relation.key))),
    )


@given(row_changes())
def test_rows_come_back_as_they_were(change: Change) -> None:
    assert read_back(change) == [change]


XIDS = st.integers(1, 2**32 - 1)
POSITIONS = st.integers(1, 2**63 - 1)
TIMES = st.integers(0, 4 * 10**15)


@given(
    st.builds(Begin, XIDS, POSITIONS, TIMES)
    | st.builds(Commit, XIDS, POSITIONS, TIMES)
    | st.builds(Message, st.booleans(), TEXT, st.binary(max_size=20) | TEXT.map(str.encode))
)
def test_other_changes_come_back_as_they_were(change: Change) -> None:
    assert read_back(change) == [change]


def test_a_truncate_is_one_statement_with_a_line_a_table() -> None:
    tables = tuple(Relation("public", name, (), ()) for name in ("a", "b", "c"))
    change = Truncate(tables, cascade=True, restart_identity=True)
    assert read_back(change) == [change]
    objects = [json.loads(line) for line in lines_of(change)]
    assert [(o["action"], o["table"]) for o in objects] == [("T", "a"), ("T", "b"), ("T", "c")]


def test_unchanged_columns_are_left_out_and_come_back_as_unchanged_where_identity_is_full() -> None:
    new = (b"1", UNCHANGED, b"\\x00")
    (line,) = lines_of(Update(FULL, (b"1", b"long", None), new))
    assert [column["name"] for column in json.loads(line)["columns"]] == ["id", "b"]
    assert read_back(Update(FULL, (b"1", b"long", None), new)) == [
        Update(FULL, (b"1", b"long", None), new)
    ]
    (kept,) = read_back(Update(WIDE, None, new))
    assert isinstance(kept, Update)
    assert (kept.relation.columns, kept.new) == (("id", "b"), (b"1", b"\\x00"))


def test_a_key_of_all_columns_is_not_taken_for_a_full_identity() -> None:
    change = Update(ALL_KEY, (b"1", b"2"), (b"1", b"3"))
    assert read_back(change) == [change]


def test_every_line_carries_its_transaction_and_position() -> None:
    encoder = JsonLinesEncoder()
    changes: list[Change] = [
        Begin(731, 0x10, 1_795_456_360_519_701),
        Insert(WIDE, (b"1", b"x", None)),
        Message(True, "p", b"c"),
        Commit(731, 0x20, 1_795_456_360_519_701),
    ]
    objects = [json.loads(encoder.encode(change, 0x18)) for change in changes]
    assert {o["xid"] for o in objects} == {731}
    assert {o["timestamp"] for o in objects} == {"2026-11-23 17:52:40.519701+00"}
    assert [o["lsn"] for o in objects] == ["0/10", "0/18", "0/18", "0/10"]
    assert objects[-1]["nextlsn"] == "0/20"


def test_values_are_written_as_wal2json_writes_them() -> None:
    types = ("numeric", "numeric", "boolean", "bytea", "text", "money")
    relation = Relation("s", "t", tuple("abcdef"), types)
    row = (b"5.990", b"NaN", b"t", b"\\xff", b'a"\n', b"$1.00")
    (line,) = lines_of(Insert(relation, row))
    assert line.endswith(
        b'"columns":[{"name":"a","type":"numeric","value":5.990},'
        b'{"name":"b","type":"numeric","value":"NaN"},'
        b'{"name":"c","type":"boolean","value":true},{"name":"d","type":"bytea","value":"ff"},'
        b'{"name":"e","type":"text","value":"a\\"\\n"},'
        b'{"name":"f","type":"money","value":"$1.00"}]}'
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Insert(WIDE, (b"1", b"\xff", None)), "a change at 0/1 has text that is not UTF-8"),
        (Update(WIDE, None, (UNCHANGED, b"x", None)), "was not sent"),
        (Begin(1, 1, 2**63), "a change at 0/1 cannot be written as JSON"),
    ],
)
def test_what_json_cannot_carry_is_an_error(change: Change, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        JsonLinesEncoder().encode(change, 1)
