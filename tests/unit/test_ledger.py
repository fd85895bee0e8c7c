"""The ledger: what was acknowledged is found again, and every kind of difference is noticed."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pgcopydb.demo.ledger import (
    Entry,
    Expected,
    LedgerFile,
    Outcome,
    Transaction,
    compare,
    read_ledger,
)


def _committed(*entries: Entry, removed: tuple[int, ...] = ()) -> Transaction:
    return Transaction(outcome=Outcome.COMMITTED, put=entries, removed=removed)


def _written(path: Path, *transactions: Transaction) -> Path:
    with LedgerFile(path) as file:
        for transaction in transactions:
            file.append(transaction)
    return path


def _expected(*transactions: Transaction) -> Expected:
    expected = Expected()
    for transaction in transactions:
        expected.add(1, transaction)
    return expected


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    first = _written(
        tmp_path / "1",
        _committed(Entry(1, 1, "1.000000"), Entry(2, 1, "-2.500000")),
        Transaction(outcome=Outcome.ROLLED_BACK, put=(Entry(3, 1, "3"), Entry(1, 2, "9"))),
        _committed(Entry(4, 2, "4.000000"), removed=(1,)),
    )
    second = _written(tmp_path / "2", _committed(Entry(1, 1, "7")))
    expected = read_ledger([(1, first), (2, second)])
    assert expected.entries == {
        (1, 2): Entry(2, 1, "-2.500000"),
        (1, 4): Entry(4, 2, "4.000000"),
        (2, 1): Entry(1, 1, "7"),
    }
    assert (expected.commits, expected.rollbacks) == (3, 1)


def test_a_line_that_was_not_finished_does_not_count(tmp_path: Path) -> None:
    path = _written(tmp_path / "1", _committed(Entry(1, 1, "1")), _committed(Entry(2, 1, "2")))
    path.write_bytes(path.read_bytes()[:-1])
    assert read_ledger([(1, path)]).entries.keys() == {(1, 1)}


def test_a_writer_that_comes_back_goes_on_in_its_file(tmp_path: Path) -> None:
    _written(tmp_path / "1", _committed(Entry(1, 1, "1")))
    path = _written(tmp_path / "1", _committed(Entry(2, 1, "2")))
    assert read_ledger([(1, path)]).commits == 2


def test_a_database_that_is_right_has_no_discrepancies() -> None:
    expected = _expected(_committed(Entry(1, 1, "1")), _committed(Entry(1, 2, "5")))
    found = compare(expected, [(1, Entry(1, 2, "5"))])
    assert not found
    assert str(found) == ""


def test_every_kind_of_difference_is_noticed() -> None:
    expected = _expected(
        _committed(*(Entry(number, 1, "1") for number in range(1, 6))),
        Transaction(outcome=Outcome.ROLLED_BACK, put=(Entry(6, 1, "1"),)),
        _committed(Entry(2, 2, "2"), removed=(5,)),
    )
    found = compare(
        expected,
        [
            (1, Entry(2, 1, "1")),  # the update is not there
            (1, Entry(3, 1, "1")),
            (1, Entry(3, 1, "1")),
            (1, Entry(4, 1, "1")),
            (1, Entry(5, 1, "1")),  # deleted
            (1, Entry(6, 1, "1")),  # rolled back
            (2, Entry(1, 1, "1")),  # of a writer that never wrote
        ],
    )
    assert found.lost == ((1, 1),)
    assert found.altered == ((1, 2),)
    assert found.duplicated == ((1, 3),)
    assert found.phantom == ((1, 5), (1, 6), (2, 1))
    assert str(found) == (
        "1 lost (first (1, 1)), 3 phantom (first (1, 5)), 1 duplicated (first (1, 3)),"
        " 1 altered (first (1, 2))"
    )


def test_either_end_of_an_unknown_outcome_is_right() -> None:
    expected = _expected(
        _committed(Entry(1, 1, "1"), Entry(2, 1, "2")),
        Transaction(
            outcome=Outcome.UNKNOWN, put=(Entry(3, 1, "3"), Entry(1, 2, "9")), removed=(2,)
        ),
    )
    assert not compare(expected, [(1, Entry(1, 1, "1")), (1, Entry(2, 1, "2"))])
    assert not compare(expected, [(1, Entry(1, 2, "9")), (1, Entry(3, 1, "3"))])


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=30))
def test_the_last_acknowledged_state_is_what_counts(work: list[tuple[int, bool]]) -> None:
    """Against a plain replay: entries put or removed, some of it rolled back."""
    expected, rows = Expected(), dict[int, Entry]()
    for version, (number, commit) in enumerate(work):
        entry = Entry(number, version, str(version))
        removing = number in rows
        expected.add(
            1,
            Transaction(
                outcome=Outcome.COMMITTED if commit else Outcome.ROLLED_BACK,
                put=() if removing else (entry,),
                removed=(number,) if removing else (),
            ),
        )
        if commit and removing:
            del rows[number]
        elif commit:
            rows[number] = entry
    assert not compare(expected, ((1, entry) for entry in rows.values()))
