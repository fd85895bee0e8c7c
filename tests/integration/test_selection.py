"""What follows from filters in a database where everything depends on something."""

from pathlib import Path

import pytest

from pgcopydb.errors import ConfigurationError
from pgcopydb.model.endpoint import Side
from pgcopydb.model.filters import Filters
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.selection import resolve_filters
from pgcopydb.rules.filters import parse_filters
from tests.support.servers import Database, MakeDatabase, Servers

SCRIPT = (Path(__file__).parents[1] / "support" / "filtered.sql").read_text()


@pytest.fixture(params=[15, 18])
def database(
    request: pytest.FixtureRequest, servers: Servers, make_database: MakeDatabase
) -> Database:
    cluster = servers.get(request.param)
    return make_database(cluster, SCRIPT)


def resolve(database: Database, text: str) -> Filters:
    source = database.endpoint(Side.SOURCE)
    with connect(source, purpose="test") as connection:
        return resolve_filters(source, connection, parse_filters(text, origin="f.ini"))


def relations(names: tuple[tuple[str, str], ...], *, keys: bool = False) -> set[str]:
    """Return the names, mostly without those of keys and other indexes."""
    listed = {".".join(name) for name in names}
    return {name for name in listed if keys or not name.endswith(("_pkey", "_key", "_idx", "_n"))}


def test_what_depends_on_a_table_goes_with_it(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    filters = resolve(database, "[exclude-table]\napp.gone")
    assert relations(filters.left_out) == {
        "app.child",
        "app.filled",
        "app.holds_row",
        "app.of_gone",
        "app.of_view",
    }
    assert not [*filters.taken_in, *filters.needed_schemas, *filters.without_data]
    (said,) = caplog.messages
    for name in (
        "function app.of_body() (needs table app.gone)",
        "function app.of_row(app.gone) (needs type app.gone)",
        "table app.child (needs table app.gone)",
        "table app.holds_row (needs type app.gone)",
        "constraint kept_gone_id_fkey on table app.kept (needs table app.gone)",
        "constraint key_to_unique_name_fkey on table app.key_to_unique (needs table app.gone)",
        "rule shadow on table app.kept (needs table app.gone)",
        "policy only_gone on table app.kept (needs table app.gone)",
        "view app.of_gone (needs table app.gone)",
        "view app.of_view (needs view app.of_gone)",
        "materialized view app.filled (needs view app.of_gone)",
    ):
        assert name in said
    assert said.count("(needs ") == 11
    # Its serial's sequence stays for the default of another table.
    assert filters.selects_table("app", "gone_id_seq")


def test_a_schema_goes_but_for_what_tables_are_made_of(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    filters = resolve(database, "[exclude-schema]\nold\nutil")
    assert set(filters.needed_schemas) == {"old", "util"}
    assert relations(filters.taken_in) == {"util.codes"}
    assert not filters.selects_table("old", "things")
    assert not filters.selects_table("old", "measures_2023")
    assert filters.selects_table("app", "uses_old")
    partition, dependents = caplog.messages
    assert "lack their rows: old.measures_2023" in partition
    assert dependents.count("(needs ") == 1
    assert "trigger touch on table app.kept (needs function util.touch())" in dependents
    caplog.clear()
    only = resolve(database, '[include-only-schema]\n"Odd ""Sch""ema."')
    assert only.selects_table('Odd "Sch"ema.', "ta'ble %s")
    assert not [*only.needed_schemas, *only.taken_in]
    assert not caplog.messages


def test_the_tables_that_are_named_come_with_what_they_need(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    filters = resolve(database, "[include-only-table]\napp.kept\napp.measures_2024")
    assert relations(filters.taken_in) == {
        "app.gone_id_seq",
        "app.kept_id_seq",
        "app.measures",
        "app.of_kept",
        "old.looks_at_kept",
        "util.codes",
    }
    assert not filters.selects_table("app", "measures_2025_1")
    assert not filters.selects_table("app", "of_view")
    assert "app.measures_2025, old.measures_2023" in caplog.messages[0]
    whole = resolve(database, "[include-only-table]\napp.~/^measures$/")
    assert whole.selects_table("old", "measures_2023")
    assert whole.selects_table("app", "measures_2025_1")


def test_partitions_and_indexes(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    filters = resolve(
        database,
        "[exclude-table]\napp.measures_2024\n[exclude-table-data]\napp.measures_2025\n"
        "[exclude-index]\napp.~/./\n",
    )
    assert filters.without_data == (("app", "measures_2025_1"),)
    assert not filters.copies_data("app", "measures_2025_1")
    assert filters.selects_table("app", "measures_2025_1")
    assert filters.selects_index("app", "kept_pkey")
    assert not filters.selects_index("app", "kept_note")
    assert not filters.selects_index("old", "measures_2023_value_idx")
    kept, alone, dependents = caplog.messages
    assert "app.kept_pkey" in kept
    assert "measures_2024" not in kept
    assert alone.endswith("lack their rows: app.measures_2024")
    assert "constraint key_to_unique_name_fkey" in dependents
    caplog.clear()
    parent = resolve(database, "[exclude-table]\napp.measures")
    assert relations(parent.left_out) >= {"app.measures_2025_1", "old.measures_2023"}
    assert "table app.measures_2025_1 (needs table app.measures_2025)" in caplog.text


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[exclude-table]\napp.gonne", "line 2: the source has no table app.gonne", "app.gone?"),
        ("[exclude-table]\napp.Kept_\n", "no table app.kept_", "app.kept?"),
        ("[exclude-table]\npublic.audit", "no table public.audit", "app.audit?"),
        ("[exclude-schema]\nutill", "the source has no schema utill", "util?"),
        ("[exclude-index]\napp.kept_nots", "no index app.kept_nots", "app.kept_note?"),
        ("[exclude-extension]\nzzz", "no extension zzz", "remove the line"),
        ("[exclude-event-trigger]\nt", "no event trigger t", "remove the line"),
        ("[include-only-table]\napp.of_kept", "no table app.of_kept", "?"),
        (
            '[exclude-schema]\n"Odd ""sch""ema."',
            "no schema",
            'did you mean "Odd ""Sch""ema."?',
        ),
        ("[exclude-index]\napp.kept_pkey", "is the table's primary key", "remove the line"),
        (
            "[exclude-index]\napp.measures_2024_value_idx",
            "it belongs to the index app.measures_value of a partitioned table",
            "list the index of the partitioned table",
        ),
        (
            "[include-only-table]\napp.kept\napp.child",
            "line 3: app.child cannot be copied without app.gone",
            "list app.gone in [include-only-table] too",
        ),
    ],
)
@pytest.mark.parametrize("database", [15], indirect=True)
def test_what_cannot_be_is_refused(database: Database, text: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(database, text)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("database", [15], indirect=True)
def test_expressions_may_match_nothing(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    resolve(database, "[exclude-table]\napp.~/nothing/\n[exclude-extension]\n~/^pg_/")
    assert caplog.messages == [
        "f.ini, line 2: nothing on the source matches app.~/nothing/ of [exclude-table]",
        "f.ini, line 4: nothing on the source matches ~/^pg_/ of [exclude-extension]",
    ]
