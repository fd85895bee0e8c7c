"""What is built on tables is planned without holding it, and what is waited for comes first."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pgcopydb.clone.planning.copies import FROZEN_FROM, frozen_from
from pgcopydb.clone.planning.jobs import Build, constraints_unit
from pgcopydb.clone.planning.plan import BuildsPlanner, plan_rows
from pgcopydb.model.objects import ConstraintKind, Index, Table, TableKind
from pgcopydb.model.options import CopyOptions
from tests.support.migration_facts import SERVER, constraint, table

ROOT = table("root", oid=1, kind=TableKind.PARTITIONED)
LEAVES = [
    table(f"leaf {oid}", oid=oid, is_partition=True, parent_oids=(ROOT.oid,)) for oid in (2, 3)
]
BARE = table("bare", oid=4)
VIEW = table("view", oid=5, kind=TableKind.MATERIALIZED_VIEW)


def index(on: Table, oid: int, **changes: Any) -> Index:
    facts: dict[str, Any] = {
        "oid": oid,
        "schema": on.schema,
        "name": f"index {oid}",
        "table_oid": on.oid,
        "table_schema": on.schema,
        "table_name": on.name,
        "definition": f"CREATE INDEX {oid}",
        "access_method": "btree",
        "bytes": 8192,
        "is_primary": False,
        "is_unique": False,
        "is_exclusion": False,
        "is_immediate": True,
        "is_valid": True,
        "is_replica_identity": False,
        "is_clustered": False,
        "is_partitioned": on.kind is TableKind.PARTITIONED,
        "parent_oid": None,
        "tablespace": None,
        "statistics": (),
        "constraint_oid": None,
        "constraint_name": None,
        "constraint_kind": None,
        "constraint_definition": None,
        "constraint_deferrable": False,
        "constraint_deferred": False,
    }
    return Index(**(facts | changes))


def planner(*tables: Table) -> BuildsPlanner:
    return BuildsPlanner(tables, target=SERVER, options=CopyOptions())


@pytest.mark.parametrize(
    ("version_num", "said"),
    [
        (150004, 'VACUUM (ANALYZE) "s a"."bare"'),
        (160001, 'VACUUM (ANALYZE, SKIP_DATABASE_STATS) "s a"."bare"'),
        (180002, 'VACUUM (ANALYZE, SKIP_DATABASE_STATS) ONLY "s a"."bare"'),
    ],
)
def test_a_vacuum_reads_no_more_than_its_table_where_the_target_can_be_told(
    version_num: int, said: str
) -> None:
    target = replace(SERVER, version_num=version_num)
    (job,) = BuildsPlanner([BARE], target=target, options=CopyOptions()).on_tables([])
    assert msgspec.json.decode(job.parameters, type=Build).upkeep.vacuum == said


def test_of_many_tables_all_are_loaded_frozen_where_each_vacuum_would_read_all() -> None:
    oldest, old, new = (replace(SERVER, version_num=number) for number in (130004, 150004, 160001))
    assert frozen_from(old, 999) == frozen_from(new, 100_000) == FROZEN_FROM
    assert frozen_from(oldest, 100_000) == FROZEN_FROM  # which are vacuumed all the same
    assert frozen_from(old, 1_000) == 0
    many = [table(f"t {oid}", oid=oid, bytes=8192) for oid in range(1, 4)]
    plans = [
        plan_rows(
            many,
            source=SERVER,
            options=CopyOptions(),
            key_bounds=lambda _: None,
            frozen_from=size,
        )
        for size in (FROZEN_FROM, 0)
    ]
    assert [plan.frozen for plan in plans] == [frozenset(), frozenset({1, 2, 3})]


def test_the_indexes_of_one_table_are_held_at_once() -> None:
    read: list[int] = []

    def indexes() -> Iterator[Index]:
        for oid, leaf in enumerate([*LEAVES, BARE], 10):
            read.append(oid)
            yield index(leaf, oid)

    jobs = planner(*LEAVES, BARE).on_tables(indexes())
    assert next(jobs).oid == LEAVES[0].oid
    assert read == [10, 11]  # the second is the first of the next table
    assert [job.oid for job in jobs] == [LEAVES[1].oid, BARE.oid]


def test_what_is_waited_for_comes_first() -> None:
    """The root's index is read first, and attached to when those of all partitions are there."""
    root = index(ROOT, 10)
    parts = [index(leaf, 10 + leaf.oid, parent_oid=root.oid) for leaf in LEAVES]
    jobs = list(planner(ROOT, *LEAVES, BARE).on_tables([root, *parts]))
    given: set[str] = set()
    known = {job.unit for job in jobs}
    for job in jobs:
        assert given >= known.intersection(job.waits_for)
        given.add(job.unit)
    attaching = jobs[-1]
    assert attaching.kind == "attach"
    assert set(attaching.waits_for) == {constraints_unit(one.oid) for one in (ROOT, *LEAVES)}
    assert BARE.oid in {job.oid for job in jobs}  # it is to be vacuumed


def test_the_remainder_of_what_was_given() -> None:
    """Indexes of views are kept whole; what pg_dump leaves out, and other tables', is not."""
    of_view = index(VIEW, 10)
    failed = index(BARE, 11, is_valid=False)
    unknown = index(table("other", oid=77), 12)
    planned = planner(BARE, VIEW)
    assert list(planned.on_tables([of_view, failed, unknown]))
    assert not list(planned.of_foreign_keys([constraint(ConstraintKind.FOREIGN_KEY)]))
    remainder = planned.remainder()
    assert remainder.view_indexes == (of_view,)
    assert [one.name for one in remainder.indexes] == [of_view.name]
    assert [oid for _, oid in remainder.built] == [of_view.oid]
    assert [view.name for view in remainder.views] == [VIEW.name]
