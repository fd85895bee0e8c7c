"""A batch must leave a table exactly as its changes one after the other would."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from pgcopydb.batching.net import NetEffect, OrderedChanges
from pgcopydb.batching.plan import Batch, Marker, Planner, TableRows, Truncation
from pgcopydb.model.changes import (
    UNCHANGED,
    Change,
    Completed,
    Delete,
    Insert,
    Message,
    Relation,
    Row,
    Truncate,
    Update,
)
from pgcopydb.model.targets import Route, TargetColumn, TargetTable
from pgcopydb.rules.routing import make_route

COLUMNS = ("id", "a", "b")


def table(name: str, *, ordered: bool = False, identity_always: bool = False) -> TargetTable:
    columns = {
        column: TargetColumn(
            name=column,
            type="text",
            generated=False,
            identity_always=identity_always and column == "a",
            exact=True,
        )
        for column in COLUMNS
    }
    return TargetTable("public", name, partitioned=False, columns=columns, ordered=ordered)


TABLES = {
    ("public", "t"): table("t"),
    ("public", "ordered"): table("ordered", ordered=True),
    ("public", "always"): table("always", identity_always=True),
}
KEYED = {
    name: Relation("public", name, COLUMNS, ("text",) * 3, key=(0,))
    for name in ("t", "ordered", "always")
}
KEYLESS = Relation("public", "t", COLUMNS, ("text",) * 3)
FULL = Relation("public", "t", COLUMNS, ("text",) * 3, full=True)


def route(relation: Relation) -> Route:
    return make_route(relation, TABLES)


@dataclass
class Rows:
    """A table as a target would have it, which refuses what a target would refuse."""

    rows: dict[object, Row] = field(default_factory=dict)

    def insert(self, row: Row) -> None:
        assert row[0] not in self.rows, "duplicate key"
        self.rows[row[0]] = row

    def update(self, key: object, new: Row, *, set_key: bool = True) -> None:
        old = self.rows.pop(key)
        merged = tuple(o if n is UNCHANGED else n for o, n in zip(old, new, strict=True))
        assert set_key or merged[0] == key
        assert merged[0] not in self.rows
        self.rows[merged[0]] = merged

    def delete(self, key: object) -> None:
        del self.rows[key]

    def make(self, change: Change) -> None:
        match change:
            case Insert(_, new):
                self.insert(new)
            case Update(_, old, new):
                self.update(old[0] if old is not None else new[0], new)
            case Delete(_, old):
                self.delete(old[0])
            case Truncate():
                self.rows.clear()

    def make_batch(self, batch: Batch) -> None:
        """Do what ``cdc.sets`` does with a batch."""
        for step in batch.steps:
            match step:
                case NetEffect():
                    self.make_net(step)
                case OrderedChanges(changes):
                    for change in changes:
                        self.make(change)
                case Truncation():
                    self.rows.clear()

    def make_net(self, net: NetEffect) -> None:
        for key in net.gone:
            assert key not in self.rows
        for key in net.deleted:
            self.delete(key)
        for key, row in (*net.replaced.items(), *net.updated.items()):
            assert net.updated.get(key) is row or UNCHANGED not in row
            self.update(key, row, set_key=False)
        for row in (*net.inserted.values(), *net.appended):
            assert UNCHANGED not in row
            self.insert(row)


KEYS = st.sampled_from([b"1", b"2", b"3", b"4"])
VALUES = st.sampled_from([b"x", b"y", None])
ACTIONS = st.tuples(
    st.sampled_from(["insert", "update", "toast", "move", "delete", "delete", "truncate"]),
    KEYS,
    KEYS,
    VALUES,
    VALUES,
)


def valid_changes(
    relation: Relation, before: dict[object, Row], actions: list[tuple[object, ...]]
) -> tuple[list[Change], dict[object, Row]]:
    """Turn random actions into changes that a source could make, and give its end state."""
    source = Rows(dict(before))
    changes: list[Change] = []
    for action, key, other, a, b in actions:
        row: Row = (key, a, b)  # type: ignore[assignment]
        change: Change | None = None
        if action == "insert" and key not in source.rows:
            change = Insert(relation, row)
        elif action == "update" and key in source.rows:
            change = Update(relation, None, row)
        elif action == "toast" and key in source.rows:
            change = Update(relation, None, (row[0], row[1], UNCHANGED))
        elif action == "move" and key in source.rows and other not in source.rows:
            new: Row = (other, UNCHANGED, b)  # type: ignore[assignment]
            change = Update(relation, (row[0], None, None), new)
        elif action == "delete" and key in source.rows:
            change = Delete(relation, (row[0], None, None))
        elif action == "truncate" and a is None and b is None:
            change = Truncate((relation,))
        if change is not None:
            source.make(change)
            changes.append(change)
    return changes, source.rows


@given(
    name=st.sampled_from(["t", "ordered", "always"]),
    start=st.dictionaries(KEYS, st.tuples(VALUES, VALUES)),
    actions=st.lists(ACTIONS, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=3),
    leaves=st.lists(st.booleans(), min_size=30, max_size=30),
    at_once=st.booleans(),
)
def test_batches_do_what_their_changes_do(
    name: str,
    start: dict[bytes, tuple[bytes | None, bytes | None]],
    actions: list[tuple[object, ...]],
    cuts: list[int],
    leaves: list[bool],
    at_once: bool,
) -> None:
    before: dict[object, Row] = {key: (key, *rest) for key, rest in start.items()}
    changes, wanted = valid_changes(KEYED[name], before, actions)
    target = Rows(dict(before))
    planner = Planner(route)
    collect = AtOnce(planner) if at_once else Collecting(planner)
    for index, change in enumerate(changes):
        collect.add(as_if_of(LEAF[name], change) if leaves[index] else change)
        planner.complete(Completed(index + 1, 0, 1, 0))
        if index in cuts:
            target.make_batch(planner.take())
            collect.begin_anew()
    target.make_batch(planner.take())
    assert target.rows == wanted


LEAF = {name: structs.replace(relation) for name, relation in KEYED.items()}
"""Other relations whose rows go into the same tables, as those of a partition may."""


def as_if_of(relation: Relation, change: Change) -> Change:
    return (
        Truncate((relation,))
        if isinstance(change, Truncate)
        else structs.replace(change, relation=relation)
    )


class Collecting:
    """Gives changes to a planner one by one."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner

    def add(self, change: Change) -> None:
        self.planner.add([change])

    def begin_anew(self) -> None:
        """Know nothing of what was before, as at the beginning of a chunk."""


class AtOnce(Collecting):
    """Gives rows to what the planner has for their relation, as decoding a whole chunk does."""

    def __init__(self, planner: Planner) -> None:
        super().__init__(planner)
        self.sinks: dict[int, TableRows] = {}

    def add(self, change: Change) -> None:
        match change:
            case Insert(relation, new):
                self.sink(relation).insert(new)
            case Update(relation, None, new) if UNCHANGED in new:
                self.sink(relation).update_partly(new)
            case Update(relation, None, new):
                self.sink(relation).update(new)
            case _:
                self.planner.add([change])
        if isinstance(change, Truncate):
            self.begin_anew()

    def sink(self, relation: Relation) -> TableRows:
        if id(relation) not in self.sinks:
            self.sinks[id(relation)] = self.planner.rows(relation)
        return self.sinks[id(relation)]

    def begin_anew(self) -> None:
        self.sinks.clear()


def only_net(planner: Planner) -> NetEffect:
    (step,) = planner.take().steps
    assert isinstance(step, NetEffect)
    return step


def test_the_net_effect_of_many_updates_is_one_update() -> None:
    planner = Planner(route)
    planner.add([Update(KEYED["t"], None, (b"1", b"%d" % n, None)) for n in range(100)])
    assert only_net(planner).updated == {b"1": (b"1", b"99", None)}


def test_unchanged_values_survive_coalescing() -> None:
    planner = Planner(route)
    planner.add(
        [
            Insert(KEYED["t"], (b"1", b"a", b"large")),
            Update(KEYED["t"], None, (b"1", b"b", UNCHANGED)),
            Update(KEYED["t"], None, (b"2", b"c", b"new")),
            Update(KEYED["t"], None, (b"2", b"d", UNCHANGED)),
        ]
    )
    net = only_net(planner)
    assert net.inserted == {b"1": (b"1", b"b", b"large")}
    assert net.updated == {b"2": (b"2", b"d", b"new")}


def test_rows_that_come_and_go_are_looked_for() -> None:
    """Ruling 18: insert and delete in one batch probe that the row is not on the target."""
    planner = Planner(route)
    planner.add([Insert(KEYED["t"], (b"1", b"a", None)), Delete(KEYED["t"], (b"1", None, None))])
    net = only_net(planner)
    assert list(net.gone) == [b"1"]
    assert not net.inserted
    assert not net.deleted


def test_a_key_change_stays_an_update_in_its_place() -> None:
    """Ruling 18: as delete and insert it would lose what the source did not send."""
    planner = Planner(route)
    move = Update(KEYED["t"], (b"1", None, None), (b"2", UNCHANGED, b"x"))
    planner.add(
        [Update(KEYED["t"], None, (b"1", b"a", b"b")), move, Insert(KEYED["t"], (b"1",) * 3)]
    )
    before, ordered, after = planner.take().steps
    assert isinstance(before, NetEffect)
    assert isinstance(after, NetEffect)
    assert ordered == OrderedChanges([move])


def test_a_table_without_key_keeps_every_duplicate() -> None:
    """Ruling 18: such a table is a multiset; insert A, insert A, delete A must leave one A."""
    planner = Planner(route)
    row: Row = (b"1", b"a", None)
    planner.add([Insert(FULL, row), Insert(FULL, row), Delete(FULL, row)])
    appended, ordered = planner.take().steps
    assert isinstance(appended, NetEffect)
    assert appended.appended == [row, row]
    assert ordered == OrderedChanges([Delete(FULL, row)])


def test_a_table_without_identity_takes_inserts() -> None:
    planner = Planner(route)
    planner.add([Insert(KEYLESS, (b"1", b"a", None))] * 3)
    assert len(only_net(planner).appended) == 3


def test_a_truncate_is_a_barrier_and_neighbours_are_one() -> None:
    """Ruling 20; wal2json tells a TRUNCATE of two tables as two changes."""
    planner = Planner(route)
    planner.add(
        [
            Insert(KEYED["t"], (b"1", b"a", None)),
            Truncate((KEYED["t"],), restart_identity=True),
            Truncate((KEYED["always"],), cascade=True),
            Insert(KEYED["t"], (b"1", b"b", None)),
        ]
    )
    before, truncation, after = planner.take().steps
    assert isinstance(before, NetEffect)
    assert isinstance(after, NetEffect)
    assert truncation == Truncation((route(KEYED["t"]), route(KEYED["always"])), True, True)


def test_a_new_description_of_a_relation_begins_a_new_segment() -> None:
    """Ruling 20: a changed Relation message is a barrier inside the batch."""
    narrower = Relation("public", "t", ("id", "a"), ("text",) * 2, key=(0,))
    planner = Planner(route)
    planner.add([Insert(KEYED["t"], (b"1", b"a", None)), Update(narrower, None, (b"1", b"b"))])
    first, second = planner.take().steps
    assert isinstance(first, NetEffect)
    assert isinstance(second, NetEffect)
    assert first.route.relation is KEYED["t"]
    assert second.route.relation is narrower


def test_a_marker_moves_the_position() -> None:
    planner = Planner(route)
    planner.add([Message(transactional=True, prefix="pgcopydb", content=b"endpos")])
    planner.complete(Completed(10, 0, 1, 0))
    batch = planner.take()
    assert batch.steps == [Marker()]
    assert batch.end_lsn == 10
    assert planner.take().steps == []
