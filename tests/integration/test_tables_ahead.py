"""Rows are copied into the first tables while the others are being made."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from pgcopydb.clone import schema
from pgcopydb.errors import PgcopydbError, TargetError
from tests.integration.test_clone import OBJECTS, TWO_JOBS, helper_schemas, run_clone
from tests.support.clock import wait_for
from tests.support.equality import differences
from tests.support.servers import Database, SourceTarget

# The largest table, whose check reads a view that is made after it, as no dump tells.
CONSULTING = """
create table public.known (id integer);
create view public.consulted as select id from public.known;
create function public.is_known(integer) returns boolean language plpgsql immutable as
 $$begin return exists (select from public.consulted where id = $1) or true; end$$;
create table public.consulting (id integer check (public.is_known(id)));
insert into public.consulting select generate_series(1, 20000);
"""

SIDES = pytest.mark.parametrize("source_target", [(16, 18, OBJECTS + CONSULTING)], indirect=True)


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_MANY_TABLES", 2)
    monkeypatch.setattr(schema, "_TABLES_AHEAD", 3)


def copied(target: Database) -> int:
    return len(target.rows("select from pgcopydb.copy_marker where rows is not null"))


PLANNING = "application_name = 'pgcopydb plan'"


def sessions(source: Database, state: str = "true") -> int:
    return len(source.rows(f"select from pg_stat_activity where {PLANNING} and {state}"))


def relations(target: Database) -> int:
    return len(target.rows("select from pg_class where oid > 16384 and relkind in ('r', 'v')"))


@SIDES
def test_rows_come_while_tables_are_made(
    source_target: SourceTarget, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The rest of the schema is made only when the rows of the first tables are all there.

    A table that calls what is not there yet is none of the first.
    """
    made: list[int] = []
    target = source_target.target
    original = schema._restore_before_data

    def restore(*given: object, **named: object) -> None:
        if made:
            assert wait_for(lambda: copied(target) == 3)
        original(*given, **named)  # type: ignore[arg-type]
        made.append(relations(target))

    monkeypatch.setattr(schema, "_restore_before_data", restore)
    run_clone(source_target, tmp_path / "work")
    assert differences(source_target.source, target) == []
    assert helper_schemas(target) == 0
    first, second = made
    assert first < second


@SIDES
def test_interrupted_while_tables_are_made(
    source_target: SourceTarget, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What was copied goes with its tables, and its markers too, though the snapshot lives on."""
    original = schema._restore_before_data
    target = source_target.target
    begun: list[bool] = []

    def restore(*given: object, **named: object) -> None:
        if begun:
            assert wait_for(lambda: copied(target) == 3)
            raise TargetError("target: disturbed")
        begun.append(True)
        original(*given, **named)  # type: ignore[arg-type]

    with source_target.source.connect() as holder:
        holder.execute("begin isolation level repeatable read")
        (snapshot,) = holder.execute("select pg_export_snapshot()").fetchone() or ("",)
        copy = replace(TWO_JOBS, snapshot=snapshot)
        with monkeypatch.context() as patched:
            patched.setattr(schema, "_restore_before_data", restore)
            with pytest.raises(TargetError, match="disturbed"):
                run_clone(source_target, tmp_path / "work", copy)
        assert copied(target) == 3
        run_clone(source_target, tmp_path / "work", copy, resume=True)
    assert differences(source_target.source, target) == []
    assert helper_schemas(target) == 0


@SIDES
@pytest.mark.parametrize("trouble", ["the source ends the session", "the target fails"])
def test_the_rest_of_the_plan_fails(
    source_target: SourceTarget,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    trouble: str,
) -> None:
    """What is built is planned beside, while tables are made: neither outlives the other."""
    source, target = source_target.source, source_target.target
    original = schema._restore_before_data
    begun: list[bool] = []

    def restore(*given: object, **named: object) -> None:
        if not begun:
            begun.append(True)
            holder.execute("lock table pg_catalog.pg_constraint in access exclusive mode")
            original(*given, **named)  # type: ignore[arg-type]
            return
        assert wait_for(lambda: sessions(source, "wait_event_type = 'Lock'") == 1)
        if trouble == "the target fails":
            raise TargetError("target: disturbed")
        source.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where {PLANNING}")
        original(*given, **named)  # type: ignore[arg-type]

    with source.connect() as holder:
        holder.execute("begin")
        monkeypatch.setattr(schema, "_restore_before_data", restore)
        side = "source" if trouble == "the source ends the session" else "target"
        with pytest.raises(PgcopydbError, match=f"^{side}: "):
            run_clone(source_target, tmp_path / "work")
        assert copied(target) == 3
        assert wait_for(lambda: sessions(source) == 0)
