"""The one form of a change that does not depend on the plugin which told it.

Plugins differ in what they leave out (unchanged columns, columns outside the key, a TRUNCATE's
flags, empty transactions, stored generated columns) but must agree on everything else.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from pgcopydb.model.changes import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Delete,
    Insert,
    Relation,
    Row,
    Truncate,
    Update,
)

Canonical = tuple[Any, ...]

GENERATED = {("public", "made", "twice")}
PARTITIONED = {("public", "parts")}  # pgoutput names only the leaves in a TRUNCATE


def canonical_work(changes: Iterable[Change]) -> list[Canonical]:
    """Return the work without empty transactions, adjacent TRUNCATEs as one."""
    forms = [canonical(change) for change in changes]
    empty = {
        first[1]
        for first, second in pairwise(forms)
        if first[0] == "begin" and second[0] == "commit"
    }
    full = [form for form in forms if form[0] not in ("begin", "commit") or form[1] not in empty]
    return list(_merged(full))


def _merged(forms: list[Canonical]) -> Iterator[Canonical]:
    waiting: list[tuple[str, str]] = []
    for form in forms:
        if form[0] == "truncate":
            waiting.extend(form[1])
            continue
        if waiting:
            yield ("truncate", sorted(waiting))
            waiting = []
        yield form
    if waiting:
        yield ("truncate", sorted(waiting))


def canonical(change: Change) -> Canonical:
    if isinstance(change, Begin):
        return ("begin", change.xid)
    if isinstance(change, Commit):
        return ("commit", change.xid, change.end_lsn, change.commit_time)
    if isinstance(change, Insert):
        return ("insert", *_identity(change.relation), _named(change.relation, change.new))
    if isinstance(change, Update):
        relation = change.relation
        old = change.new if change.old is None else change.old
        return ("update", *_identity(relation), _key(relation, old), _named(relation, change.new))
    if isinstance(change, Delete):
        return ("delete", *_identity(change.relation), _key(change.relation, change.old))
    if isinstance(change, Truncate):
        names = [(relation.schema, relation.name) for relation in change.relations]
        return ("truncate", [name for name in names if name not in PARTITIONED])
    return ("message", change.transactional, change.prefix, change.content)


def _identity(relation: Relation) -> Canonical:
    names = sorted(relation.columns[position] for position in relation.key)
    return (relation.schema, relation.name, relation.full, names)


def _key(relation: Relation, row: Row) -> dict[str, object]:
    if relation.full:
        return _named(relation, row)
    return {relation.columns[position]: row[position] for position in relation.key}


def _named(relation: Relation, row: Row) -> dict[str, object]:
    return {
        name: value
        for name, value in zip(relation.columns, row, strict=True)
        if value is not UNCHANGED and (relation.schema, relation.name, name) not in GENERATED
    }
