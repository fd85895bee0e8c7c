"""What of a change is written at all: the columns that a statement may give a value to.

test_decoding and wal2json send stored generated columns, pgoutput does not; no statement may write
them. A column GENERATED ALWAYS AS IDENTITY may be inserted but not set by an UPDATE. Both are known
on the source's side only, so that the text that leaves it is already free of them.
"""

from collections.abc import Iterable

from msgspec import Struct

from pgcopydb.cdc.selected import FollowedChanges
from pgcopydb.errors import StateError
from pgcopydb.model.capture import Capture
from pgcopydb.model.changes import (
    UNCHANGED,
    Change,
    Delete,
    Insert,
    Relation,
    Row,
    Truncate,
    Update,
    Value,
)


class _Plan(Struct, frozen=True):
    """What to make of the rows of one relation; positions are the relation's own."""

    relation: Relation
    inserted: Relation
    inserted_picks: tuple[int, ...]
    kept: Relation
    kept_picks: tuple[int, ...]
    computed: frozenset[int]
    """Columns that the target computes, of those that are kept to find the row."""
    always: frozenset[int]


class Projection:
    """Rewrites changes by what ``capture`` knows of their tables; pure, a change at a time."""

    def __init__(self, capture: Capture) -> None:
        self._special = {
            (table.schema, table.name): (frozenset(table.generated), frozenset(table.always))
            for table in capture.tables
            if table.generated or table.always
        }
        self._followed = FollowedChanges(capture)
        self._plans: dict[int, tuple[Relation, _Plan | None]] = {}

    def __call__(self, change: Change) -> Iterable[Change]:
        """Return what to write of ``change``: mostly itself.

        Raises StateError for a change that no statement can carry.
        """
        if isinstance(change, Truncate):
            truncate = self._followed.truncated(change)
            return () if truncate is None else (truncate,)
        return self._written(change) if self._followed.takes(change) else ()

    def _written(self, change: Change) -> Iterable[Change]:
        if not self._special or not isinstance(change, Insert | Update | Delete):
            return (change,)
        plan = self._plan(change.relation)
        if plan is None:
            return (change,)
        if isinstance(change, Insert):
            return (_insert(plan, change.new),)
        if isinstance(change, Delete):
            return (Delete(plan.kept, _picked(change.old, plan.kept_picks)),)
        return _update(plan, change)

    def _plan(self, relation: Relation) -> _Plan | None:
        known = self._plans.get(id(relation))
        if known is None or known[0] is not relation:
            special = self._special.get((relation.schema, relation.name))
            plan = None if special is None else _make_plan(relation, *special)
            known = self._plans[id(relation)] = (relation, plan)
        return known[1]


def _make_plan(relation: Relation, generated: frozenset[str], always: frozenset[str]) -> _Plan:
    columns = relation.columns
    computed = frozenset(n for n, name in enumerate(columns) if name in generated)
    inserted = tuple(n for n in range(len(columns)) if n not in computed)
    kept = tuple(n for n in range(len(columns)) if n not in computed or n in relation.key)
    return _Plan(
        relation=relation,
        inserted=_only(relation, inserted),
        inserted_picks=inserted,
        kept=_only(relation, kept),
        kept_picks=kept,
        computed=computed,
        always=frozenset(n for n, name in enumerate(columns) if name in always),
    )


def _only(relation: Relation, picks: tuple[int, ...]) -> Relation:
    """Return the relation with those of its columns."""
    return Relation(
        schema=relation.schema,
        name=relation.name,
        columns=tuple(relation.columns[n] for n in picks),
        types=tuple(relation.types[n] for n in picks),
        key=tuple(picks.index(n) for n in relation.key if n in picks),
        full=relation.full,
    )


def _picked(row: Row, picks: tuple[int, ...]) -> Row:
    return tuple(row[n] for n in picks)


def _insert(plan: _Plan, new: Row) -> Insert:
    return Insert(plan.inserted, _picked(new, plan.inserted_picks))


def _update(plan: _Plan, change: Update) -> Iterable[Change]:
    old, new = change.old, change.new
    if old is not None and _moves_identity(plan, old, new):
        return _replace(plan, old, new)
    fixed = plan.computed | plan.always
    key = plan.relation.key
    if old is None and not fixed.isdisjoint(key):
        # what stays as it is is said by the identity alone
        old = tuple(value if n in key else None for n, value in enumerate(new))
        fixed |= frozenset(key)
    values: list[Value] = [UNCHANGED if n in fixed else value for n, value in enumerate(new)]
    kept_old = None if old is None else _picked(old, plan.kept_picks)
    return (Update(plan.kept, kept_old, _picked(tuple(values), plan.kept_picks)),)


def _moves_identity(plan: _Plan, old: Row, new: Row) -> bool:
    """Tell whether a column GENERATED ALWAYS AS IDENTITY got another value (SET x = DEFAULT)."""
    known = range(len(new)) if plan.relation.full else plan.relation.key
    return any(n in plan.always and new[n] is not UNCHANGED and new[n] != old[n] for n in known)


def _replace(plan: _Plan, old: Row, new: Row) -> Iterable[Change]:
    """Carry such an UPDATE as a DELETE and an INSERT, which may give the column its value."""
    if plan.relation.full:
        new = tuple(
            before if now is UNCHANGED else now for before, now in zip(old, new, strict=True)
        )
    if UNCHANGED in new:
        raise StateError(
            f"source: an UPDATE of {plan.relation.schema}.{plan.relation.name} gave a column"
            " GENERATED ALWAYS AS IDENTITY a new value and left a large value as it was, which no"
            " statement can carry",
            hint="use follow, or give the table REPLICA IDENTITY FULL",
        )
    return (Delete(plan.kept, _picked(old, plan.kept_picks)), _insert(plan, new))
