"""The ledger: what writers were told is committed, kept in files, and compared with a database.

A writer appends one line to its own file after the server has acknowledged a commit, and makes it
durable before it goes on; so whatever the file says must be in the database, exactly once. Work
that was rolled back on purpose is written down too: it must be nowhere. ::

    {"outcome":"committed","put":[[17,1,"12.500000"]],"removed":[3],"withdrawn":[]}

``put`` are entries as the transaction left them (number, version, amount), ``removed`` those that
it deleted or gave another number, ``withdrawn`` those that it rolled back to a savepoint.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct


class Outcome(StrEnum):
    """How a transaction ended, as far as its writer knows."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    UNKNOWN = "unknown"
    """The connection was lost at COMMIT: either is right."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """An entry of one writer; ``amount`` is the text that the server prints."""

    number: int
    version: int
    amount: str


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """What one transaction of a writer did."""

    outcome: Outcome
    put: tuple[Entry, ...] = ()
    removed: tuple[int, ...] = ()
    withdrawn: tuple[int, ...] = ()


class LedgerFile:
    """The file to which one writer appends; a context manager."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def append(self, transaction: Transaction) -> None:
        """Write a transaction down; on disk when this returns."""
        remaining = memoryview(msgspec.json.encode(transaction) + b"\n")
        while remaining:
            remaining = remaining[os.write(self._descriptor, remaining) :]
        os.fsync(self._descriptor)


def read_ledger_file(path: Path) -> Iterator[Transaction]:
    """Yield what a writer wrote down, but for a last line that it did not live to finish."""
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield msgspec.json.decode(line, type=Transaction)


Key = tuple[int, int]
"""A writer and the number of an entry of it."""


@dataclass
class Expected:
    """What the database must hold after all that the writers wrote down."""

    entries: dict[Key, Entry] = field(default_factory=dict)
    uncertain: set[Key] = field(default_factory=set)
    """Entries whose last transaction has an unknown outcome."""
    commits: int = 0
    rollbacks: int = 0

    def add(self, writer: int, transaction: Transaction) -> None:
        """Take a further transaction of a writer into account."""
        put = {(writer, entry.number): entry for entry in transaction.put}
        removed = {(writer, number) for number in transaction.removed}
        if transaction.outcome is Outcome.UNKNOWN:
            self.uncertain |= put.keys() | removed
        elif transaction.outcome is Outcome.ROLLED_BACK:
            self.rollbacks += 1
        else:
            self.commits += 1
            self.entries |= put
            for key in removed:
                self.entries.pop(key, None)


def read_ledger(files: Iterable[tuple[int, Path]]) -> Expected:
    """Return what the database must hold after all transactions of these writers' files."""
    expected = Expected()
    for writer, path in files:
        for transaction in read_ledger_file(path):
            expected.add(writer, transaction)
    return expected


class Discrepancies(Struct, frozen=True):
    """Where a database differs from the ledger; everything empty is as it must be."""

    lost: tuple[Key, ...] = ()
    """Acknowledged, and not there."""
    phantom: tuple[Key, ...] = ()
    """There, and rolled back, deleted or never acknowledged."""
    duplicated: tuple[Key, ...] = ()
    """There more than once."""
    altered: tuple[Key, ...] = ()
    """There, but not as the last acknowledged change left it."""

    def __bool__(self) -> bool:
        return bool(self.lost or self.phantom or self.duplicated or self.altered)

    def __str__(self) -> str:
        kinds = ("lost", "phantom", "duplicated", "altered")
        found = [(kind, getattr(self, kind)) for kind in kinds]
        return ", ".join(f"{len(keys)} {kind} (first {keys[0]})" for kind, keys in found if keys)


def compare(expected: Expected, rows: Iterable[tuple[int, Entry]]) -> Discrepancies:
    """Compare the ledger with the rows of a database, each a writer and an entry."""
    found: dict[Key, Entry] = {}
    count: Counter[Key] = Counter()
    for writer, entry in rows:
        key = (writer, entry.number)
        found[key] = entry
        count[key] += 1
    known = expected.entries.keys() - expected.uncertain
    present = found.keys() - expected.uncertain
    return Discrepancies(
        lost=tuple(sorted(known - present)),
        phantom=tuple(sorted(present - known)),
        duplicated=tuple(sorted(key for key, times in count.items() if times > 1)),
        altered=tuple(
            sorted(key for key in known & present if found[key] != expected.entries[key])
        ),
    )
