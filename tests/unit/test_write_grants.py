"""The GRANT that lets a role apply changes: table by table, or by schema where they are many."""

from pgcopydb.cdc import target_setup
from pgcopydb.model.objects import UnwritableTable


def lacking(count: int, *, may_use_schema: bool = True) -> list[UnwritableTable]:
    return [
        UnwritableTable(
            schema="app", name=f"t{n}", may_use_schema=may_use_schema, lacking=("INSERT",)
        )
        for n in range(count)
    ]


def test_a_few_tables_are_named() -> None:
    assert target_setup._grants("mover", lacking(2, may_use_schema=False)) == (
        'GRANT USAGE ON SCHEMA "app" TO "mover";'
        ' GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "app"."t0", "app"."t1" TO "mover";'
    )


def test_many_tables_are_granted_by_schema() -> None:
    assert target_setup._grants("mover", lacking(20_000)) == (
        'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "app" TO "mover";'
    )
