"""What must hold at the end of a migration, and at every moment of it."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter

import psycopg
from psycopg import sql

from tests.support.background import InBackground
from tests.support.equality import differing_definitions, differing_tables, sequence_places
from tests.support.ledger import Commit, Ledger
from tests.support.servers import Connection, Database, SourceTarget

_SHOWN_ROWS = 3

_PAUSE = 0.03
"""Seconds between two looks at a target."""

_SEQUENCES = """
select format('%I.%I', n.nspname, c.relname), s.seqincrement,
       pg_sequence_last_value(c.oid), s.seqstart
  from pg_sequence s
  join pg_class c on c.oid = s.seqrelid
  join pg_namespace n on n.oid = c.relnamespace
 where n.nspname not in ('pgcopydb')
 order by 1
"""


def assert_migrated(pair: SourceTarget, ledger: Ledger, *, exact_sequences: bool = True) -> None:
    """Assert that the target is what the source is, with everything that was acknowledged.

    Without ``exact_sequences`` a sequence of the target may be past the source's.
    """
    assert_ledger_is_exact(pair.source, ledger)
    assert_ledger_is_exact(pair.target, ledger)
    assert_same_tables(pair)
    assert_sequences_are_past(pair.source, pair.target)
    if exact_sequences:
        assert sequence_places(pair.source) == sequence_places(pair.target)


def assert_same_tables(pair: SourceTarget) -> None:
    """Assert that both sides have the same objects with the same rows (O2, O4)."""
    tables = [
        line + _rows_of_one_side(pair, line.partition(":")[0])
        for line in differing_tables(pair.source, pair.target)
    ]
    found = tables + differing_definitions(pair.source, pair.target)
    assert not found, "the databases differ:\n" + "\n".join(found)


def _rows_of_one_side(pair: SourceTarget, name: str) -> str:
    """Return a few rows that only one side has, if ``name`` is a table on both."""
    sides = [_rows(database, name) for database in (pair.source, pair.target)]
    source, target = (Counter(rows) for rows in sides)
    told = (("source", source - target), ("target", target - source))
    return "".join(
        f"\n  only on the {side}: {row[:300]}"
        for side, rows in told
        for row in sorted(rows)[:_SHOWN_ROWS]
    )


def _rows(database: Database, name: str) -> list[str]:
    schema, _, table = name.partition(".")
    query = sql.SQL("select t::text from only {} as t").format(sql.Identifier(schema, table))
    with database.connect() as connection, suppress(psycopg.Error):
        return [row for (row,) in connection.execute(query)]
    return []


# -- the ledger (O1) -------------------------------------------------------------------------------


def assert_ledger_is_exact(database: Database, ledger: Ledger) -> None:
    """Assert that each acknowledged commit is in a database once, and no other is."""
    there = Counter(database.rows("select writer, n from app.ledger"))
    echoes = Counter(database.rows("select writer, n from app.echo"))
    acknowledged = {
        (commit.writer, commit.n) for commits in ledger.commits.values() for commit in commits
    }
    wrong = {
        "lost": acknowledged - there.keys(),
        "phantom": there.keys() - acknowledged,
        "duplicated": {
            entry for rows in (there, echoes) for entry, count in rows.items() if count > 1
        },
        "without its other half": {
            entry for entry in acknowledged if (entry[1] % 5 == 0) != (entry in echoes)
        },
    }
    told = {what: (len(found), sorted(found)[:5]) for what, found in wrong.items() if found}
    assert acknowledged, "the application has written nothing"
    assert not told, f"of {len(acknowledged)} acknowledged commits: {told}"


# -- sequences -------------------------------------------------------------------------------------


def assert_sequences_are_past(source: Database, target: Database) -> None:
    """Assert that no sequence of the target would give a number that the source has given."""
    theirs, ours = _next_values(source), _next_values(target)
    assert theirs.keys() == ours.keys()
    behind = {
        name: (value, ours[name][1])
        for name, (increment, value) in theirs.items()
        if (ours[name][1] - value) * increment < 0
    }
    assert not behind, f"sequences whose next value on the source and on the target is: {behind}"


def _next_values(database: Database) -> dict[str, tuple[int, int]]:
    """Return the increment of every sequence and the next value that it would give."""
    return {
        name: (increment, start if last is None else last + increment)
        for name, increment, last, start in database.rows(_SEQUENCES)
    }


# -- every state of the target was one of the source (O3) ------------------------------------------


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one snapshot of the target showed."""

    balances: Decimal
    transfers: int
    ranking: tuple[int, int, int]
    """How many there are, and the sums of their keys and of their places, all of which swap."""
    commits: Mapping[str, tuple[int, int]]
    """For each writer the highest number in the ledger, and how many there are."""
    in_part: tuple[str, ...] = ()
    """What else was there in part."""


class PrefixReader(InBackground):
    """Reads the target again and again while it is written to; a context manager.

    To be begun when the base copy is there. Ended, ``assert_prefixes`` judges what it saw. A server
    that is killed meanwhile is waited for. ``in_part`` is a query for the texts of what is there in
    part, if anything is; it may take a while, and is asked with each tenth look.
    """

    def __init__(self, database: Database, *, in_part: str = "") -> None:
        super().__init__("reader")
        self._database = database
        self._in_part = in_part
        self.sightings: list[Sighting] = []

    def work(self) -> None:
        """Look thirty times a second at all that is to fit together."""
        while not self.stopping.wait(_PAUSE):
            with suppress(psycopg.OperationalError):
                self._look_again_and_again()

    def _look_again_and_again(self) -> None:
        with self._database.connect(connect_timeout=5) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            while not self.stopping.wait(_PAUSE):
                in_part = self._in_part if len(self.sightings) % 10 == 0 else ""
                self.sightings.append(_look(connection, in_part))


def _look(connection: Connection, in_part: str) -> Sighting:
    with connection.transaction():
        row = connection.execute(
            "select (select sum(balance) from app.accounts), (select count(*) from app.transfers),"
            " count(distinct id), sum(id), sum(place) from app.ranking"
        ).fetchone()
        counts = connection.execute(
            "select writer, max(n), count(*) from app.ledger group by writer"
        ).fetchall()
        parts = connection.execute(in_part.encode()).fetchall() if in_part else []
    assert row is not None
    balances, transfers, *ranking = row
    commits = {writer: (last, count) for writer, last, count in counts}
    return Sighting(
        balances,
        transfers,
        (ranking[0], ranking[1], ranking[2]),
        commits,
        tuple(text for (text,) in parts),
    )


def assert_prefixes(reader: PrefixReader, ledger: Ledger) -> None:
    """Assert that each state of the target that was seen is one that the source had.

    Money is neither made nor lost, of keys that are swapped each is there once, no writer has a
    gap, and where a commit is seen, so is every commit of any writer that was acknowledged before
    that one was asked for.
    """
    commits = ledger.commits
    assert reader.sightings, "the reader has seen nothing"
    for sighting in reader.sightings:
        assert sighting.balances == 20 * 1000
        assert sighting.ranking == (20, 210, 210)
        assert sighting.transfers == sighting.commits.get("move_money", (0, 0))[1]
        assert not sighting.in_part
        _assert_prefix(sighting.commits, commits)


def _assert_prefix(
    seen: Mapping[str, tuple[int, int]], commits: Mapping[str, list[Commit]]
) -> None:
    asked, unseen = 0.0, []
    for writer, own in commits.items():
        last, count = seen.get(writer, (0, 0))
        visible = own[: bisect_right(own, last, key=attrgetter("n"))]
        assert len(visible) == count, f"{writer} has gaps up to {last}: {count} of {len(visible)}"
        if visible:
            asked = max(asked, visible[-1].asked)
        unseen += own[len(visible) : len(visible) + 1]
    overtaken = [commit for commit in unseen if commit.answered < asked]
    assert not overtaken, f"seen later than commits that followed them: {overtaken}"
