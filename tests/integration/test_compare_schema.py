"""``compare schema``: each kind of change is named, by what changed, and nothing else is."""

import json
from pathlib import Path

import pytest

from pgcopydb.cli.render_comparison import schema_comparison
from pgcopydb.compare.schema import compare_schema
from pgcopydb.model.comparison import SchemaComparison
from pgcopydb.model.endpoint import Side
from pgcopydb.model.options import CompareOptions, WorkOptions
from tests.support.commands import Pgcopydb
from tests.support.servers import MakeDatabase, Servers, SourceTarget

pytestmark = pytest.mark.forked_commands

SUPPORT = Path(__file__).parents[1] / "support"
OBJECTS = (SUPPORT / "objects.sql").read_text()
DEFINITIONS = (SUPPORT / "definitions.sql").read_text()
EXPECTED = (SUPPORT / "definition_changes.txt").read_text()
"""What is said of the changes; @ is what only servers of one version print alike."""
CHANGES = (SUPPORT / "definition_changes.sql").read_text()
ROLES = ("made_owner", "made_reader")


@pytest.fixture
def made(
    servers: Servers, make_database: MakeDatabase, request: pytest.FixtureRequest
) -> SourceTarget:
    """A source with one of everything, and an empty target of the version asked for."""
    pair = SourceTarget(
        make_database(servers.get(15, "source")),
        make_database(servers.get(request.param, "target")),
    )
    for database in (pair.source, pair.target):
        for role in ROLES:
            database.execute(f"create role {role}")
    pair.source.execute(OBJECTS + DEFINITIONS)
    return pair


def compared(pair: SourceTarget, **options: object) -> SchemaComparison:
    return compare_schema(
        pair.source.endpoint(Side.SOURCE),
        pair.target.endpoint(Side.TARGET),
        CompareOptions(**options),  # type: ignore[arg-type]
        WorkOptions(),
    )


def said(found: SchemaComparison) -> list[str]:
    """Return the lines about differences."""
    lines = schema_comparison(found, as_json=False).splitlines()
    return lines[: len(found.differences)]


@pytest.mark.parametrize("made", [15, 18], indirect=True)
def test_a_clone_is_equal_and_each_change_of_it_is_named(
    made: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    options = [*made.options, "--dir", str(tmp_path / "work")]
    assert pgcopydb_command("clone", *options).status == 0
    done = pgcopydb_command("compare", "schema", *options, "--json")
    assert done.status == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["equal"]
    assert told["objects"] > 300

    for change in CHANGES.split(";\n"):
        made.target.execute(change)
    same_version = made.target.cluster.bindir == made.source.cluster.bindir
    assert (
        said(compared(made)) == EXPECTED.replace("@", "main." if same_version else "").splitlines()
    )
    done = pgcopydb_command("compare", "schema", *options)
    assert done.status == 8
    assert "secret" not in done.stdout + done.stderr

    kinds = {one.kind for one in compared(made, skip_large_objects=True).differences}
    assert "large object" not in kinds
    found = compared(made, no_owner=True, no_acl=True, no_comments=True, skip_collations=True)
    properties = {value.name for one in found.differences for value in one.values}
    assert properties.isdisjoint({"owner", "privileges", "comment", "collation"})
    assert "default" in properties


@pytest.mark.parametrize("source_target", [(16, 18, OBJECTS)], indirect=True)
def test_what_filters_leave_out_is_no_difference(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    filters = tmp_path / "filters.ini"
    filters.write_text(
        '[exclude-schema]\n"Odd. Schema"\n[exclude-table]\nshop.keyless\nshop.people\n'
        "[exclude-index]\nshop.items_partial\n[exclude-event-trigger]\nnote_ddl\n"
        "[exclude-table-data]\nshop.scratch\n"
    )
    options = [*source_target.options, "--dir", str(tmp_path / "work")]
    assert pgcopydb_command("clone", *options, "--filters", filters).status == 0
    # Those of the clone stay in force.
    for what in ("schema", "data"):
        done = pgcopydb_command("compare", what, *options)
        assert (done.status, done.stderr) == (0, "")
    assert said(compared(source_target, filters=filters)) == []
    lines = said(compared(source_target))
    assert 'schema "Odd. Schema": only on the source' in lines
    assert "table shop.keyless: only on the source" in lines
    assert "constraint shop.teams.teams_leader_fkey: only on the source" in lines
    assert not any(line.startswith("column ") for line in lines)


IN_PARTITIONS = """
create table p (id integer generated always as identity, k integer not null, v text,
  unique (id, k)) partition by range (k);
create table p_1 partition of p for values from (0) to (10);
create table p_2 partition of p for values from (10) to (20);
alter table p replica identity using index p_id_k_key;
alter table p_1 replica identity full;
alter table p_2 replica identity using index p_2_id_k_key;
create table q (id integer primary key) partition by hash (id);
create table q_1 partition of q for values with (modulus 1, remainder 0);
alter table q replica identity full; alter table q_1 replica identity nothing;
"""


@pytest.mark.parametrize(
    "source_target", [(16, 18, IN_PARTITIONS), (18, 16, IN_PARTITIONS)], indirect=True
)
def test_identities_of_partitions(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    """From 17 on partitions have their table's identity columns; before, only the table has."""
    options = [*source_target.options, "--dir", str(tmp_path / "work")]
    assert pgcopydb_command("clone", *options).status == 0
    assert said(compared(source_target)) == []
    source_target.target.execute(
        "alter table p alter column id set generated by default;"
        " alter table q_1 replica identity default"
    )
    assert said(compared(source_target)) == [
        "table public.q_1: replica identity nothing -> default",
        "column public.p.id: identity column always -> by default",
    ]
