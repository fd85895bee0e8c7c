"""The list of conflicts: exact, whatever was killed between it and the target's commit."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgcopydb.model.results import Conflict
from pgcopydb.workdir.conflicts import ConflictLog, count_conflicts, read_conflicts
from pgcopydb.workdir.store import open_store


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "catalogue.db"
    with open_store(path):
        yield path


def conflict(key: str, action: str = "skipped") -> Conflict:
    return Conflict(
        lsn=0,
        xid=7,
        schema="public",
        table="item",
        kind="UPDATE",
        key=key,
        reason="0 rows affected instead of 1",
        action=action,
    )


def keys(catalogue: Path) -> list[tuple[int, str]]:
    """Return what a process that starts now would find."""
    with open_store(catalogue) as store:
        return [(found.lsn, found.key) for found in read_conflicts(store)]


def test_conflicts_are_listed_in_their_order(catalogue: Path) -> None:
    with open_store(catalogue) as store:
        conflicts = ConflictLog(store)
        conflicts.add(conflict("id=2"))
        conflicts.add(conflict("id=1", "overwritten"))
        conflicts.complete(200)
        conflicts.complete(250)
        conflicts.add(conflict("id=3"))
        conflicts.complete(300)
        assert count_conflicts(store) == {"skipped": 2, "overwritten": 1}
    assert keys(catalogue) == [(200, "id=2"), (200, "id=1"), (300, "id=3")]


def test_what_the_target_did_not_commit_is_forgotten_and_found_again(catalogue: Path) -> None:
    with open_store(catalogue) as store:
        conflicts = ConflictLog(store)
        conflicts.add(conflict("id=1"))
        conflicts.complete(100)
        conflicts.add(conflict("id=2"))
        conflicts.complete(200)  # killed here, before the target committed 200
    with open_store(catalogue) as store:
        conflicts = ConflictLog(store)
        conflicts.forget_after(100)
        assert keys(catalogue) == [(100, "id=1")]
        conflicts.add(conflict("id=2"))
        conflicts.complete(200)
    assert keys(catalogue) == [(100, "id=1"), (200, "id=2")]


def test_what_the_target_committed_is_kept(catalogue: Path) -> None:
    with open_store(catalogue) as store:
        conflicts = ConflictLog(store)
        conflicts.add(conflict("id=1"))
        conflicts.complete(100)  # killed after the target's commit, before anything else
    with open_store(catalogue) as store:
        ConflictLog(store).forget_after(100)
    assert keys(catalogue) == [(100, "id=1")]


def test_a_transaction_with_more_conflicts_than_memory_is_to_hold(catalogue: Path) -> None:
    with open_store(catalogue) as store:
        conflicts = ConflictLog(store)
        for number in range(2500):
            conflicts.add(conflict(f"id={number}"))
        assert count_conflicts(store) == {}
        assert keys(catalogue) == []
        conflicts.complete(100)
        conflicts.add(conflict("next"))
        conflicts.complete(200)
    expected = [(100, f"id={number}") for number in range(2500)]
    assert keys(catalogue) == [*expected, (200, "next")]


def test_a_transaction_that_is_rolled_back_leaves_nothing(catalogue: Path) -> None:
    with open_store(catalogue) as store:
        conflicts = ConflictLog(store)
        conflicts.add(conflict("id=1"))
        conflicts.complete(100)
        for number in range(1500):
            conflicts.add(conflict(f"id={number}"))
        conflicts.forget_transaction()
        conflicts.add(conflict("id=3"))
        conflicts.forget_transaction()
        conflicts.complete(200)
    assert keys(catalogue) == [(100, "id=1")]
