"""Random tables, and random schedules of transactions over them, for hypothesis to draw.

A schedule is data: what a failing example prints can be read, and made smaller. Every step is
carried out whatever the steps before it did: a statement that the source refuses (a second row
with a key, a lock that another session holds) is rolled back to a savepoint, as applications do.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

import psycopg
from hypothesis import strategies as st
from psycopg import errors, sql

from tests.support import values
from tests.support.servers import Connection, Database

SCHEMA = "schedule"
END = "the end"
"""A table that gets one row when everything else is committed."""

_SESSIONS = 3
_LARGE = 3000
"""Characters of a value that is stored out of line."""

# Bitwise equality, so that a row found by all of its columns is the row that was meant: PostgreSQL
# itself, with which we compare, would take 1.5 for 1.50 there.
_EXACT = ("i8", "b", "t", "u", "ba", "d", "ta", "r4", "m")
_TYPES: Mapping[str, str] = {
    "i8": "bigint", "n": "numeric", "n2": "numeric(14,3)", "f4": "real", "f8": "double precision",
    "b": "boolean", "t": "text", "v": "varchar(60)", "c": "char(7)", "ba": "bytea", "d": "date",
    "tmz": "timetz", "tsz": "timestamptz", "iv": "interval", "j": "json", "jb": "jsonb",
    "u": "uuid", "ia": "integer[]", "ta": "text[]", "na": "numeric[]", "fa": "double precision[]",
    "r4": "int4range", "rt": "tstzrange", "mr": "int4multirange", "m": "mood", "ma": "mood[]",
    "pc": "percent", "pr": "pair", "pra": "pair[]", "bt": "bit(5)", "vb": "bit varying(20)",
    "ip": "inet", "mac": "macaddr", "pt": "point", "bx": "box", "tv": "tsvector",
}  # fmt: skip

_USER_TYPES = """
create type mood as enum ('happy', 'it''s', 'a, "b"', 'back\\slash', '');
create type pair as (a integer, b text);
create domain percent as numeric(5,2) check (value between 0 and 100);
"""


@dataclass(frozen=True)
class Kind:
    """A kind of table: what is declared beside its columns, and how its rows are identified."""

    constraints: str = ""
    after: str = ""
    """Statements with ``{t}`` for the table, made on both sides."""
    columns: tuple[str, ...] = ()
    """Columns beside those of every table, which the server fills."""
    full: bool = False
    bare: bool = False
    """Whether it has the columns ``id`` and ``n`` only."""
    partitioned: str = ""
    partitions: tuple[str, ...] = ()
    """Bounds on the source; the first word of the partition's name is the table's."""
    other_partitions: tuple[str, ...] = ()
    large: int = _LARGE

    @property
    def may_conflict(self) -> bool:
        """Whether rows of a batch can be in each other's way, so that order matters."""
        return any(
            word in self.constraints + self.after for word in ("unique (u)", "exclude", "where")
        )


_FULL = "alter table {t} replica identity full;"
_BY_RANGE = (
    "for values from (minvalue) to (4)",
    "for values from (4) to (8)",
    "for values from (8) to (maxvalue)",
)

KINDS: Mapping[str, Kind] = {
    "key": Kind("primary key (id)"),
    "two keys %s": Kind("primary key (n, id)"),
    "only keys": Kind("primary key (id, n)", bare=True),
    'it\'s "indexed"': Kind(
        "primary key (u, id)",
        "alter table {t} alter id set not null; create unique index {i} on {t} (id);"
        " alter table {t} replica identity using index {i};",
    ),
    "full": Kind(after=_FULL, full=True),
    "full of numbers": Kind(after=_FULL, full=True, bare=True),
    "full with key": Kind("primary key (id)", _FULL, full=True),
    "unique": Kind("primary key (id), unique (u)"),
    "unique twice": Kind(
        "primary key (id), unique (u)", "create unique index {i} on {t} (n) where n > 5;"
    ),
    "deferred": Kind("primary key (id), unique (u) deferrable initially deferred"),
    "deferrable": Kind("primary key (id), unique (u) deferrable"),
    "deferred key": Kind("primary key (id) deferrable initially deferred", _FULL, full=True),
    "exclusion": Kind("primary key (id), exclude using gist (int4range(u, u + 2) with &&)"),
    "generated": Kind(
        "primary key (id)", columns=("g integer generated always as (n * 2) stored",)
    ),
    "identity": Kind("primary key (id)", columns=("i bigint generated always as identity",)),
    "long key": Kind("primary key (id, large)", large=2200),
    "by range": Kind(
        "primary key (id)",
        partitioned="range (id)",
        partitions=_BY_RANGE,
        other_partitions=("for values from (minvalue) to (6)", "default"),
    ),
    "by list": Kind(
        "primary key (id, n)",
        partitioned="list (n)",
        partitions=("for values in (0, 1, 2)", "for values in (3, 4, 5)", "default"),
        other_partitions=("for values in (1, 3, 5, 7)", "default"),
    ),
    "full by hash": Kind(
        after=_FULL,
        full=True,
        partitioned="hash (id)",
        partitions=tuple(f"for values with (modulus 2, remainder {n})" for n in range(2)),
        other_partitions=tuple(f"for values with (modulus 3, remainder {n})" for n in range(3)),
    ),
    "parent": Kind("primary key (id)"),
    "child": Kind(
        "primary key (id), foreign key (u) references parent on delete cascade on update cascade"
    ),
}


class Shape(StrEnum):
    """How a table of the target differs from the source's."""

    SAME = "same"
    OTHER_COLUMNS = "columns in another order, and one more"
    FLAT = "not partitioned"
    OTHER_PARTITIONS = "partitioned otherwise"


@dataclass(frozen=True)
class Table:
    """A table of an example: ``data`` are names of :data:`values.VALUES`."""

    name: str
    data: tuple[str, ...]
    shape: Shape = Shape.SAME

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    @property
    def given(self) -> list[str]:
        """The columns that statements give values to."""
        rest = [] if self.kind.bare else ["u", "large", *map(_column, self.data)]
        return ["id", "n", *rest]

    @property
    def apart(self) -> int:
        """How far unique values are from each other, where ranges must not overlap."""
        return 3 if "exclude" in self.kind.constraints else 1

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(SCHEMA, self.name)

    def definition(self, shape: Shape = Shape.SAME) -> str:
        """Return the statements that make the table in a shape."""
        kind, name = self.kind, _quoted(self.name)
        columns = ["id integer", "n integer"]
        if not kind.bare:
            columns += ["u integer", "large text"]
            columns += [f"{_quoted(_column(name))} {_TYPES[name]}" for name in self.data]
        columns += kind.columns
        if shape is Shape.OTHER_COLUMNS:
            columns = ["extra integer", *reversed(columns)]
        partitioned = kind.partitioned if shape is not Shape.FLAT else ""
        body = ", ".join([*columns, *([kind.constraints] if kind.constraints else [])])
        script = f"create table {name} ({body})"
        script += f" partition by {partitioned};" if partitioned else ";"
        if not kind.bare:
            script += f"alter table {name} alter large set storage external;"
        script += kind.after.format(t=name, i=_quoted(f"{self.name} index"))
        if partitioned:
            script += self._partitions(shape)
        return script

    def _partitions(self, shape: Shape) -> str:
        other = shape is Shape.OTHER_PARTITIONS
        bounds = self.kind.other_partitions if other else self.kind.partitions
        script = ""
        for number, bound in enumerate(bounds):
            name = _quoted(self.partition(number) + (" otherwise" if other else ""))
            script += f"create table {name} partition of {_quoted(self.name)} {bound};"
            script += f"alter table {name} alter large set storage external;"
            if self.kind.full:
                script += _FULL.format(t=name)
        return script

    def partition(self, number: int) -> str:
        return f"{self.name} {number}"


def _column(name: str) -> str:
    """Return the name of the column that has the values ``name``."""
    return f"data {name}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Step:
    """One thing that a session does; what ``a``, ``b`` and ``c`` are is the verb's business."""

    session: int
    verb: str
    table: int
    a: int = 0
    b: int = 0
    c: int = 0


@dataclass(frozen=True)
class Schedule:
    """Tables and what is done to them, and in what portions it is stored and applied."""

    tables: tuple[Table, ...]
    before: tuple[Step, ...]
    """What is done to the rows that every table has before anybody looks."""
    steps: tuple[Step, ...]
    chunk_bytes: int = 1 << 20
    most_changes: int = 20_000
    set_from: int = 2

    def script(self, *, target: bool) -> str:
        """Return the script that makes the tables."""
        made = [
            table.definition(table.shape if target else Shape.SAME)
            for table in sorted(self.tables, key=lambda table: table.name == "child")
        ]
        return (
            f"drop schema if exists {SCHEMA} cascade; create schema {SCHEMA};"
            f" set search_path to {SCHEMA}; {_USER_TYPES}"
            f'create table "{END}" (id integer primary key); {"".join(made)}'
        )


# -- drawing ---------------------------------------------------------------------------------------

_ROW_VERBS = (
    "insert", "insert", "insert", "insert several", "insert twins", "count", "count all",
    "set data", "set large", "set unique", "touch", "move", "move all", "swap", "swap unique",
    "delete", "delete", "delete one", "replace", "insert and delete",
)  # fmt: skip
_OTHER_VERBS = (
    "truncate", "truncate", "truncate all", "truncate part", "message",
    "savepoint", "roll back to", "release",
    "commit", "commit", "commit", "commit", "commit", "roll back", "prepare", "finish", "nothing",
)  # fmt: skip
_FEW = st.integers(0, 11)


@st.composite
def tables(draw: st.DrawFn, *, other_shapes: bool) -> tuple[Table, ...]:
    names = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=5, unique=True))
    if "child" in names and "parent" not in names:
        names.append("parent")
    return tuple(draw(_table(name, other_shapes)) for name in names)


@st.composite
def _table(draw: st.DrawFn, name: str, other_shapes: bool) -> Table:
    kind = KINDS[name]
    types = _EXACT if kind.full else tuple(_TYPES)
    data = () if kind.bare else draw(st.lists(st.sampled_from(types), max_size=3, unique=True))
    shapes = [Shape.SAME]
    if other_shapes:
        shapes += [Shape.FLAT, Shape.OTHER_PARTITIONS] if kind.partitioned else []
        shapes += [Shape.OTHER_COLUMNS] if not kind.partitioned else []
    return Table(name, tuple(data), draw(st.sampled_from(shapes)))


def _steps(
    verbs: Sequence[str], counts: Sequence[int], sessions: int
) -> st.SearchStrategy[tuple[Step, ...]]:
    """Draw as many steps as one of ``counts`` says, the first of which is the simplest."""
    step = st.builds(
        Step,
        session=st.sampled_from([*[0] * sessions, *range(sessions)]),
        verb=st.sampled_from(verbs),
        table=_FEW,
        a=_FEW,
        b=_FEW,
        c=st.integers(0, 1000),
    )
    return st.sampled_from(counts).flatmap(
        lambda count: st.lists(step, min_size=count, max_size=2 * count + 5).map(tuple)
    )


def schedules(*, other_shapes: bool = True) -> st.SearchStrategy[Schedule]:
    """Draw schedules; without ``other_shapes`` the target's tables are as the source's."""
    return st.builds(
        Schedule,
        tables=tables(other_shapes=other_shapes),
        before=_steps(("insert", "insert several", "insert twins"), (0, 5, 10), 1),
        # with one session nothing waits for a lock, and a TRUNCATE is hardly ever refused
        steps=st.sampled_from([1, _SESSIONS]).flatmap(
            lambda sessions: _steps(
                (*_ROW_VERBS, *_ROW_VERBS, *_OTHER_VERBS), (0, 20, 50, 80), sessions
            )
        ),
        chunk_bytes=st.sampled_from([1 << 20, 2000, 200]),
        most_changes=st.sampled_from([20_000, 15, 3]),
        set_from=st.sampled_from([2, 1, 50]),
    )


# -- carrying out ----------------------------------------------------------------------------------

_REFUSED = (
    psycopg.IntegrityError,
    errors.LockNotAvailable,
    errors.ObjectInUse,  # TRUNCATE with deferred checks that are pending
    errors.FeatureNotSupported,  # TRUNCATE of a table that another one refers to
    errors.ProgramLimitExceeded,  # a key that does not fit into an index
)


@dataclass
class _Session:
    connection: Connection
    open: bool = False
    savepoints: list[str] = field(default_factory=list)


class Sessions:
    """The sessions that carry schedules out on the source; a context manager."""

    def __init__(self, database: Database, schedule: Schedule) -> None:
        self._schedule = schedule
        self._database = database
        self._stack = ExitStack()
        self._prepared: list[str] = []
        self._numbers: Iterator[int] = iter(range(1, 1_000_000))

    def __enter__(self) -> "Sessions":
        with self._stack as stack:
            self._sessions = [self._session(stack) for _ in range(_SESSIONS)]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _session(self, stack: ExitStack) -> _Session:
        options = f"-c search_path={SCHEMA} -c lock_timeout=20ms"
        return _Session(stack.enter_context(self._database.connect(options=options)))

    def carry_out(self, steps: Sequence[Step]) -> None:
        """Carry steps out in their order, then end whatever is open."""
        for step in steps:
            self._step(self._sessions[step.session], step)
        for session in self._sessions:
            self._end(session, "commit")
        while self._prepared:
            self._finish("commit")

    def _step(self, session: _Session, step: Step) -> None:
        match step.verb:
            case "commit":
                self._end(session, "commit")
            case "roll back":
                self._end(session, "rollback")
            case "prepare":
                name = f"prepared {next(self._numbers)}"
                if session.open and self._end(session, f"prepare transaction '{name}'"):
                    self._prepared.append(name)
            case "finish":
                self._finish("rollback" if step.a % 4 == 0 else "commit")
            case "savepoint":
                name = f"s{next(self._numbers)}"
                self._begin(session)
                session.connection.execute(f"savepoint {name}".encode())
                session.savepoints.append(name)
            case "roll back to" | "release":
                self._back_to_savepoint(session, step)
            case _:
                self._begin(session)
                self._try(session, statement(self._schedule.tables, step))

    def _begin(self, session: _Session) -> None:
        if not session.open:
            session.connection.execute("begin")
            session.open = True

    def _back_to_savepoint(self, session: _Session, step: Step) -> None:
        if session.savepoints:
            at = step.a % len(session.savepoints)
            word = "rollback to" if step.verb == "roll back to" else "release"
            session.connection.execute(f"{word} {session.savepoints[at]}".encode())
            del session.savepoints[at + (word == "rollback to") :]

    def _end(self, session: _Session, word: str) -> bool:
        """End a transaction; return whether the server took it."""
        if not session.open:
            return False
        session.open = False
        session.savepoints.clear()
        try:
            session.connection.execute(word.encode())
        except _REFUSED:
            return False
        return True

    def _finish(self, word: str) -> None:
        if self._prepared:
            name = self._prepared.pop(0)
            with self._database.connect() as connection:
                connection.execute(f"{word} prepared '{name}'".encode())

    def _try(self, session: _Session, work: sql.Composable) -> None:
        script = sql.SQL("savepoint try; {}; release try").format(work)
        try:
            session.connection.execute(script)
        except _REFUSED:
            session.connection.execute("rollback to try; release try")


def filling(all_tables: Sequence[Table]) -> tuple[Step, ...]:
    """Return the steps that give every table a row for each of the numbers that steps choose."""
    return tuple(
        Step(0, "insert all", index)
        for _, index in sorted((table.name == "child", n) for n, table in enumerate(all_tables))
    )


def statement(all_tables: Sequence[Table], step: Step) -> sql.Composable:
    """Return the SQL of a step that is not about transactions."""
    table = all_tables[step.table % len(all_tables)]
    plain = not table.kind.bare
    a, b = step.a, step.b
    where_id = f"where id between {a} and {a + b}"
    match step.verb:
        case "insert":
            return _insert(table, step, f"({a})")
        case "insert several":
            return _insert(table, step, f"(select generate_series({20 + a}, {20 + a + 5 * b}))")
        case "insert all":
            return _insert(table, step, "(select generate_series(0, 11))")
        case "insert twins":
            return _insert(table, step, f"(values ({a}), ({a}), ({a + 1}))")
        case "count":
            return _on(table, f"update {{t}} set n = n + 1 {where_id}")
        case "count all":
            return _on(table, "update {t} set n = n + 1")
        case "set data":
            return _set_data(table, step, where_id)
        case "set large" if plain:
            return _on(table, f"update {{t}} set large = {_large(table, step)} {where_id}")
        case "set unique" if plain:
            return _on(table, f"update {{t}} set u = {b} where id = {a}")
        case "move":
            return _on(table, f"update {{t}} set id = {b} where id = {a}")
        case "move all":
            return _on(table, f"update {{t}} set id = id + {1 if b % 2 else 40}")
        case "swap" | "swap unique":
            return _swap(table, step)
        case "delete":
            return _on(table, f"delete from {{t}} {where_id}")
        case "delete one":
            one = f"(select tableoid, ctid from {{t}} where id >= {a} limit 1)"
            return _on(table, f"delete from {{t}} where (tableoid, ctid) = {one}")
        case "replace":
            gone = _on(table, f"delete from {{t}} where id = {a}; ")
            return gone + _insert(table, step, f"({a})")
        case "insert and delete":
            return _insert(table, step, f"({a})") + _on(table, f"; delete from {{t}} {where_id}")
        case "truncate" | "truncate all" | "truncate part":
            return _truncate(all_tables, table, step)
        case "message":
            return sql.SQL("select pg_logical_emit_message({}, 'some', E'\\'x\\'\\n')").format(
                step.a % 2 == 0
            )
        case "nothing":
            return sql.SQL("select pg_current_xact_id()")
        case _:
            return _on(table, f"update {{t}} set n = n {where_id}")


def _on(table: Table, text: str) -> sql.Composable:
    return sql.SQL(text).format(t=table.identifier)


def _insert(table: Table, step: Step, ids: str) -> sql.Composable:
    """Insert a row for each of ``ids``, a select or a list of values in brackets."""
    random = Random(step.c)
    given = table.given
    rest: list[sql.Composable] = [sql.Literal(step.b)]
    if not table.kind.bare:
        unique = (
            sql.Literal(step.b) if step.c % 5 == 0 else sql.SQL("g.id * {}").format(table.apart)
        )
        rest += [unique, sql.SQL(_large(table, step))]
        rest += [_datum(name, random) for name in table.data]
    source = ids if ids.startswith(("(select", "(values")) else f"(values {ids})"
    return sql.SQL("insert into {} ({}) select g.id{} from {} as g (id)").format(
        table.identifier,
        sql.SQL(", ").join(map(sql.Identifier, given)),
        sql.SQL("").join(sql.SQL(", {}").format(value) for value in rest),
        sql.SQL(source),
    )


def _datum(name: str, random: Random) -> sql.Composable:
    text = None if random.random() < 0.1 else values.VALUES[name](random)
    return sql.SQL("{}::{}").format(text, sql.SQL(_TYPES[name]))


def _large(table: Table, step: Step) -> str:
    if step.c % 4 == 0 and "large" not in table.kind.constraints:
        return "null"
    if step.c % 4 == 1:
        return "'short'"
    return f"repeat(md5('{step.c}'), {table.kind.large // 32})"


def _set_data(table: Table, step: Step, where: str) -> sql.Composable:
    random = Random(step.c)
    names = [name for name in table.data if random.random() < 0.7]
    if not names:
        return _on(table, f"update {{t}} set n = {step.b} {where}")
    return sql.SQL("update {} set {} {}").format(
        table.identifier,
        sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(_column(name)), _datum(name, random))
            for name in names
        ),
        sql.SQL(where),
    )


def _swap(table: Table, step: Step) -> sql.Composable:
    """Swap the keys or unique values of two rows, at once where the constraint waits."""
    a, b = step.a, step.b
    column = "u" if step.verb == "swap unique" and not table.kind.bare else "id"
    if "defer" in table.kind.constraints:
        return _on(
            table,
            f"update {{t}} x set {column} = y.{column} from {{t}} y"
            f" where (x.id, y.id) in (({a}, {b}), ({b}, {a}))",
        )
    if column == "id":
        return _on(
            table,
            f"update {{t}} set id = 1000 where id = {a}; update {{t}} set id = {a} where id = {b};"
            f" update {{t}} set id = {b} where id = 1000",
        )
    return _on(
        table,
        f"update {{t}} set u = -u - 1000 where id in ({a}, {b});"
        " update {t} x set u = (select -y.u - 1000 from {t} y"
        f" where y.id = {a} + {b} - x.id limit 1) where x.id in ({a}, {b})",
    )


def _truncate(all_tables: Sequence[Table], table: Table, step: Step) -> sql.Composable:
    names = [table.identifier]
    if step.verb == "truncate all" and step.a % 3 == 0:
        names = [each.identifier for each in all_tables]
    elif step.verb == "truncate part" and table.kind.partitioned and table.shape is Shape.SAME:
        names = [sql.Identifier(SCHEMA, table.partition(step.a % len(table.kind.partitions)))]
    words = (" restart identity" if step.b % 3 == 0 else "") + (" cascade" if step.c % 2 else "")
    return sql.SQL("truncate {}{}").format(sql.SQL(", ").join(names), sql.SQL(words))
