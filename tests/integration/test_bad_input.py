"""Bad input: one clear line, the right exit status, and nothing left behind on the servers."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgcopydb.demo.places import free_port
from tests.support.clock import wait_for
from tests.support.commands import Finished, Pgcopydb, PgcopydbBackground, Running
from tests.support.litter import litter, sessions
from tests.support.pooler import pooler
from tests.support.servers import Database, MakeCluster, MakeDatabase, Servers, SourceTarget

pytestmark = pytest.mark.forked_commands

SECONDS = 20.0
"""No refusal may take longer; this is a small machine, and most take less than one."""

TABLE = "create table t (id integer primary key, v text); insert into t values (1, 'one')"


@dataclass
class Bench:
    """What a case is made of: two databases, a work directory, and the means to make more."""

    pair: SourceTarget
    directory: Path
    servers: Servers
    make_cluster: MakeCluster
    make_database: MakeDatabase
    command: Pgcopydb
    background: PgcopydbBackground

    def words(
        self, *words: str, source: str | Database = "", target: str | Database = ""
    ) -> list[str]:
        """Return a command line for both sides, or for others where they are given."""
        return [
            *words,
            *("--dir", str(self.directory)),
            *("--source", _conninfo(source or self.pair.source)),
            *("--target", _conninfo(target or self.pair.target)),
        ]

    def run(self, *words: str) -> Finished:
        """Run a command that prepares the case."""
        finished = self.command(*self.words(*words))
        assert finished.status == 0, finished.stderr
        return finished

    @contextmanager
    def snapshot(self, *words: str) -> Iterator[Running]:
        """Hold a snapshot in the work directory."""
        options = ["--dir", str(self.directory), "--source", self.pair.source.conninfo]
        with self.background("snapshot", *words, *options) as running:
            assert wait_for(lambda: running.stdout != ""), running.stderr
            yield running

    def begin_capture(self) -> None:
        """Leave a work directory with a capture, its slot and its publication."""
        with self.snapshot("--follow") as running:
            running.send_signal(signal.SIGTERM)
            assert running.wait(10).status == 0

    def role(self, database: Database, attributes: str = "") -> str:
        """Make a role that owns nothing; return the connection string to log in with."""
        name = f"reader_{database.name}"
        database.execute(f"create role {name} login {attributes}")
        return make_conninfo(database.conninfo, user=name)


def _conninfo(side: str | Database) -> str:
    return side if isinstance(side, str) else side.conninfo


@dataclass(frozen=True)
class Refusal:
    """A command line, the exit status it must end with, and words of its one line."""

    arguments: list[str]
    status: int
    words: tuple[str, ...]


Case = Callable[[Bench], AbstractContextManager[Refusal]]


def case(function: Callable[[Bench], Iterator[Refusal]]) -> Case:
    """Make a case of a function that prepares it, yields what to expect, and tidies up."""
    return contextmanager(function)


# -- connections -----------------------------------------------------------------------------------


@case
def unreachable_source(bench: Bench) -> Iterator[Refusal]:
    nowhere = f"host=127.0.0.1 port={free_port()} dbname=x"
    yield Refusal(bench.words("clone", source=nowhere), 6, ("source", "refused"))


@case
def unreachable_target(bench: Bench) -> Iterator[Refusal]:
    nowhere = f"postgres://127.0.0.1:{free_port()}/x"
    yield Refusal(bench.words("clone", "--follow", target=nowhere), 7, ("target", "refused"))


@case
def unknown_host(bench: Bench) -> Iterator[Refusal]:
    yield Refusal(bench.words("clone", source="host=nowhere.invalid"), 6, ("source", "nowhere"))


@case
def wrong_source_database(bench: Bench) -> Iterator[Refusal]:
    wrong = make_conninfo(bench.pair.source.conninfo, dbname="nowhere")
    yield Refusal(bench.words("clone", "--follow", source=wrong), 6, ("source", '"nowhere"'))


@case
def wrong_target_database(bench: Bench) -> Iterator[Refusal]:
    wrong = make_conninfo(bench.pair.target.conninfo, dbname="nowhere")
    yield Refusal(bench.words("clone", "--follow", target=wrong), 7, ("target", '"nowhere"'))


@case
def wrong_role(bench: Bench) -> Iterator[Refusal]:
    wrong = make_conninfo(bench.pair.source.conninfo, user="nobody_here", password="s3cret")
    yield Refusal(bench.words("clone", source=wrong), 6, ("source", '"nobody_here"'))


@case
def wrong_password(bench: Bench) -> Iterator[Refusal]:
    cluster = bench.make_cluster(16, password="right")
    wrong = cluster.conninfo("postgres", password="s3cret")
    yield Refusal(bench.words("clone", source=wrong), 6, ("source", "password"))


@case
def malformed_conninfo(bench: Bench) -> Iterator[Refusal]:
    yield Refusal(bench.words("clone", source="host='unterminated"), 1, ("source",))


@case
def malformed_uri(bench: Bench) -> Iterator[Refusal]:
    yield Refusal(bench.words("clone", target="postgres://h/x?nonsense=s3cret"), 1, ("target",))


@case
def source_is_target(bench: Bench) -> Iterator[Refusal]:
    source = bench.pair.source
    words = bench.words("clone", "--follow", target=source)
    yield Refusal(words, 2, ("same database", source.name))


# -- the command line ------------------------------------------------------------------------------


@case
def malformed_lsn(bench: Bench) -> Iterator[Refusal]:
    yield Refusal(bench.words("follow", "--endpos", "16/nonsense"), 1, ("endpos", "16/nonsense"))


@case
def unknown_option(bench: Bench) -> Iterator[Refusal]:
    yield Refusal(bench.words("clone", "--flolow"), 1, ("--flolow",))


@case
def unknown_plugin(bench: Bench) -> Iterator[Refusal]:
    yield Refusal(bench.words("clone", "--follow", "--plugin", "decoderbufs"), 1, ("decoderbufs",))


@case
def missing_source(bench: Bench) -> Iterator[Refusal]:
    yield Refusal(["clone", "--target", bench.pair.target.conninfo], 1, ("--source",))


# -- what the source cannot do ---------------------------------------------------------------------


@case
def wal_level_is_not_logical(bench: Bench) -> Iterator[Refusal]:
    cluster = bench.make_cluster(16, settings={"wal_level": "replica"})
    words = bench.words("clone", "--follow", source=cluster.conninfo())
    yield Refusal(words, 2, ("wal_level", "logical"))


@case
def no_slot_is_free(bench: Bench) -> Iterator[Refusal]:
    cluster = bench.make_cluster(16, settings={"max_replication_slots": "0"})
    words = bench.words("clone", "--follow", source=cluster.conninfo())
    yield Refusal(words, 2, ("max_replication_slots",))


@case
def plugin_is_not_installed(bench: Bench) -> Iterator[Refusal]:
    yield Refusal(bench.words("clone", "--follow", "--plugin", "wal2json"), 2, ("wal2json",))


@case
def plugin_is_not_allowed(bench: Bench) -> Iterator[Refusal]:
    cluster = bench.make_cluster(15, settings={"output_plugin_libraries": "pgoutput"})
    words = bench.words("clone", "--follow", "--plugin", "wal2json", source=cluster.conninfo())
    yield Refusal(words, 2, ("output_plugin_libraries", "wal2json"))


@case
def role_may_not_replicate(bench: Bench) -> Iterator[Refusal]:
    role = bench.role(bench.pair.source)
    bench.pair.source.execute("grant select on all tables in schema public to public")
    yield Refusal(bench.words("clone", "--follow", source=role), 2, ("REPLICATION",))


@case
def role_may_not_read_a_table(bench: Bench) -> Iterator[Refusal]:
    bench.pair.source.execute("create table hidden (id integer primary key)")
    role = bench.role(bench.pair.source)
    bench.pair.source.execute("grant select on t to public")
    yield Refusal(bench.words("clone", "--follow", source=role), 2, ("source", "hidden"))


@case
def role_sees_not_every_row(bench: Bench) -> Iterator[Refusal]:
    role = bench.role(bench.pair.source)
    bench.pair.source.execute(
        "grant select on t to public; alter table t enable row level security;"
        " create policy p on t using (id > 1)"
    )
    yield Refusal(bench.words("clone", source=role), 2, ("row", "public.t"))


@case
def table_without_a_key(bench: Bench) -> Iterator[Refusal]:
    bench.pair.source.execute("create table keyless (v text)")
    yield Refusal(bench.words("clone", "--follow"), 2, ("public.keyless", "identity"))


@case
def source_is_target_of_a_follow(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    yield Refusal(bench.words("follow", target=bench.pair.source), 2, ("same database",))


@case
def target_role_of_a_follow_may_not_create(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    role = bench.role(bench.pair.target)
    words = ("target: role", "no permission to create")
    yield Refusal(bench.words("follow", target=role), 7, words)


@case
def pooler_before_the_target_of_a_follow(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    with pooler(bench.pair.target, "transaction") as through:
        yield Refusal(bench.words("follow", target=through), 2, ("target: a pooler",))


@case
def pooler_before_the_source_of_a_prefetch(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    with pooler(bench.pair.source, "transaction") as through:
        words = bench.words("stream", "prefetch", source=through)
        yield Refusal(words, 2, ("source: a pooler",))


@case
def pooler_before_the_source_of_a_comparison(bench: Bench) -> Iterator[Refusal]:
    with pooler(bench.pair.source, "transaction") as through:
        words = ["compare", "data", "--source", through, "--target", bench.pair.target.conninfo]
        yield Refusal(words, 2, ("source: a pooler",))


@case
def pooler_before_the_target_of_a_copy_of_data(bench: Bench) -> Iterator[Refusal]:
    bench.pair.target.execute(TABLE.partition("insert")[0])
    with pooler(bench.pair.target, "transaction") as through:
        yield Refusal(bench.words("copy", "data", target=through), 2, ("target: a pooler",))


@case
def pooler_before_the_source_of_a_snapshot(bench: Bench) -> Iterator[Refusal]:
    with pooler(bench.pair.source, "transaction") as through:
        words = ["snapshot", "--source", through, "--dir", str(bench.directory)]
        yield Refusal(words, 2, ("source: a pooler",))


@case
def pooler_before_the_target_of_restored_schema(bench: Bench) -> Iterator[Refusal]:
    bench.run("dump", "schema")
    with pooler(bench.pair.target, "transaction") as through:
        directory = ["--dir", str(bench.directory)]
        words = ["restore", "pre-data", "--target", through, *directory]
        yield Refusal(words, 2, ("target: a pooler",))


@case
def pooler_before_the_source_of_a_setup(bench: Bench) -> Iterator[Refusal]:
    with pooler(bench.pair.source, "transaction") as through:
        words = bench.words("stream", "setup", "--create-slot", source=through)
        yield Refusal(words, 2, ("source: a pooler",))


@case
def pooler_before_the_target_of_a_setup(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    with pooler(bench.pair.target, "transaction") as through:
        yield Refusal(bench.words("stream", "setup", target=through), 2, ("target: a pooler",))


@case
def pooler_before_the_source_of_a_cleanup(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    with pooler(bench.pair.source, "transaction") as through:
        yield Refusal(bench.words("stream", "cleanup", source=through), 2, ("source: a pooler",))


@case
def pooler_before_the_target_of_a_cleanup(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    bench.run("stream", "setup")
    with pooler(bench.pair.target, "transaction") as through:
        yield Refusal(bench.words("stream", "cleanup", target=through), 2, ("target: a pooler",))


@case
def pooler_before_the_source_of_copied_roles(bench: Bench) -> Iterator[Refusal]:
    with pooler(bench.pair.source, "transaction") as through:
        yield Refusal(bench.words("copy", "roles", source=through), 2, ("source: a pooler",))


@case
def pooler_before_the_target_of_copied_roles(bench: Bench) -> Iterator[Refusal]:
    with pooler(bench.pair.target, "transaction") as through:
        yield Refusal(bench.words("copy", "roles", target=through), 2, ("target: a pooler",))


@case
def pooler_before_the_source_of_dumped_roles(bench: Bench) -> Iterator[Refusal]:
    with pooler(bench.pair.source, "transaction") as through:
        words = ["dump", "roles", "--source", through, "--dir", str(bench.directory)]
        yield Refusal(words, 2, ("source: a pooler",))


@case
def pooler_before_the_target_of_restored_roles(bench: Bench) -> Iterator[Refusal]:
    directory = ["--dir", str(bench.directory)]
    source = ["--source", bench.pair.source.conninfo]
    assert bench.command("dump", "roles", *source, *directory).status == 0
    with pooler(bench.pair.target, "transaction") as through:
        words = ["restore", "roles", "--target", through, *directory]
        yield Refusal(words, 2, ("target: a pooler",))


# -- slots, publications and origins ---------------------------------------------------------------


@case
def no_capture_to_follow(bench: Bench) -> Iterator[Refusal]:
    with bench.snapshot():
        pass
    yield Refusal(bench.words("follow"), 3, ("no change capture",))


@case
def snapshot_that_is_not_the_slots(bench: Bench) -> Iterator[Refusal]:
    with bench.snapshot() as running:
        other = running.stdout.strip()
        bench.directory = bench.directory.with_name("another")
        yield Refusal(bench.words("clone", "--follow", "--snapshot", other), 2, ("slot", other))


@case
def nothing_to_follow(bench: Bench) -> Iterator[Refusal]:
    yield Refusal(bench.words("follow"), 3, ("no work directory", str(bench.directory)))


@case
def missing_slot(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    bench.pair.source.rows("select pg_drop_replication_slot('pgcopydb')")
    yield Refusal(bench.words("stream", "receive"), 3, ("slot", '"pgcopydb"'))


@case
def missing_slot_of_a_follow(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    bench.run("stream", "setup")
    bench.pair.source.rows("select pg_drop_replication_slot('pgcopydb')")
    yield Refusal(bench.words("follow"), 3, ("slot", '"pgcopydb"'))


@case
def slot_exists_already(bench: Bench) -> Iterator[Refusal]:
    bench.pair.source.rows("select pg_create_logical_replication_slot('pgcopydb', 'pgoutput')")
    yield Refusal(bench.words("clone", "--follow"), 3, ("slot", '"pgcopydb"', "exists"))


@case
def slot_of_another_plugin(bench: Bench) -> Iterator[Refusal]:
    source = bench.make_database(bench.servers.get(15), TABLE)
    bench.pair = SourceTarget(source, bench.pair.target)
    bench.begin_capture()
    source.rows("select pg_drop_replication_slot('pgcopydb')")
    source.rows("select pg_create_logical_replication_slot('pgcopydb', 'test_decoding')")
    yield Refusal(bench.words("stream", "receive"), 3, ("slot", "test_decoding"))


@case
def slot_of_another_database(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    bench.pair.source.rows("select pg_drop_replication_slot('pgcopydb')")
    other = bench.make_database(bench.pair.source.cluster)
    other.rows("select pg_create_logical_replication_slot('pgcopydb', 'pgoutput')")
    yield Refusal(bench.words("stream", "receive"), 3, ("slot", "database", other.name))


@case
def slot_is_in_use(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    conninfo = make_conninfo(bench.pair.source.conninfo, replication="database")
    with closing(psycopg.connect(conninfo, autocommit=True)) as other:
        other.pgconn.send_query(
            b"START_REPLICATION SLOT pgcopydb LOGICAL 0/0"
            b" (proto_version '1', publication_names 'pgcopydb')"
        )
        assert wait_for(
            lambda: bench.pair.source.rows("select active from pg_replication_slots") == [(True,)]
        )
        yield Refusal(bench.words("stream", "receive"), 3, ("slot", "in use"))


@case
def publication_of_other_tables(bench: Bench) -> Iterator[Refusal]:
    bench.pair.source.execute("create publication pgcopydb")
    yield Refusal(bench.words("clone", "--follow"), 3, ("publication", "lacks public.t"))


@case
def publication_of_all_tables(bench: Bench) -> Iterator[Refusal]:
    bench.pair.source.execute("create publication pgcopydb for all tables")
    yield Refusal(bench.words("clone", "--follow"), 3, ("publication", "all tables"))


@case
def origin_of_somebody_else(bench: Bench) -> Iterator[Refusal]:
    bench.pair.target.rows("select pg_replication_origin_create('pgcopydb')")
    yield Refusal(bench.words("clone", "--follow"), 3, ("origin", '"pgcopydb"'))


# -- the target ------------------------------------------------------------------------------------


@case
def target_is_not_empty(bench: Bench) -> Iterator[Refusal]:
    bench.pair.target.execute("create table public.theirs (id integer primary key)")
    yield Refusal(bench.words("clone", "--follow"), 7, ("not empty", "public.theirs"))


@case
def target_role_may_not_create(bench: Bench) -> Iterator[Refusal]:
    role = bench.role(bench.pair.target)
    yield Refusal(bench.words("clone", "--follow", target=role), 7, ("target", "permission"))


@case
def schema_of_our_name(bench: Bench) -> Iterator[Refusal]:
    bench.pair.target.execute("create schema pgcopydb")
    yield Refusal(bench.words("clone", "--follow"), 7, ("schema pgcopydb",))


# -- the work directory ----------------------------------------------------------------------------


@case
def work_directory_is_a_file(bench: Bench) -> Iterator[Refusal]:
    bench.directory.write_text("")
    yield Refusal(bench.words("clone"), 3, (str(bench.directory),))


@case
def work_directory_holds_no_migration(bench: Bench) -> Iterator[Refusal]:
    words = ["stream", "sentinel", "get", "--dir", str(bench.directory)]
    yield Refusal(words, 3, (str(bench.directory),))


@case
def work_directory_of_another_source(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    other = bench.make_database(bench.pair.source.cluster, TABLE)
    yield Refusal(bench.words("follow", source=other), 3, ("another source",))


@case
def work_directory_of_another_target(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    bench.run("stream", "setup")
    other = bench.make_database(bench.pair.target.cluster)
    yield Refusal(bench.words("follow", target=other), 3, ("another target",))


@case
def cleanup_with_another_source(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    other = bench.make_database(bench.pair.source.cluster, TABLE)
    yield Refusal(bench.words("stream", "cleanup", source=other), 3, ("another source",))


@case
def work_directory_in_use(bench: Bench) -> Iterator[Refusal]:
    with bench.snapshot() as running:
        words = ["snapshot", "--dir", str(bench.directory)]
        words += ["--source", bench.pair.source.conninfo]
        yield Refusal(words, 3, ("in use", str(running.pid)))


@case
def restart_of_what_is_in_use(bench: Bench) -> Iterator[Refusal]:
    with bench.snapshot("--follow"):
        yield Refusal(bench.words("clone", "--restart"), 3, ("in use", "snapshot"))


@case
def previous_run(bench: Bench) -> Iterator[Refusal]:
    bench.run("clone")
    yield Refusal(bench.words("clone"), 3, ("previous run", "pgcopydb clone", "done"))


@case
def plugin_of_the_migration_is_another(bench: Bench) -> Iterator[Refusal]:
    bench.begin_capture()
    words = bench.words("follow", "--plugin", "test_decoding")
    yield Refusal(words, 3, ("plugin", "pgoutput", "test_decoding"))


@case
def endpos_is_in_the_past(bench: Bench) -> Iterator[Refusal]:
    with bench.snapshot("--follow"):
        bench.run("clone")
    directory = ["--dir", str(bench.directory)]
    bench.command(
        "stream",
        "sentinel",
        "set",
        "endpos",
        "--current",
        *directory,
        "--source",
        bench.pair.source.conninfo,
    )
    bench.pair.source.execute("insert into t values (2, 'two')")
    bench.run("follow")
    yield Refusal(["stream", "sentinel", "set", "endpos", "0/1", *directory], 3, ("past",))


CASES: tuple[Case, ...] = (
    unreachable_source,
    unreachable_target,
    unknown_host,
    wrong_source_database,
    wrong_target_database,
    wrong_role,
    wrong_password,
    malformed_conninfo,
    malformed_uri,
    source_is_target,
    malformed_lsn,
    unknown_option,
    unknown_plugin,
    missing_source,
    wal_level_is_not_logical,
    no_slot_is_free,
    plugin_is_not_installed,
    plugin_is_not_allowed,
    role_may_not_replicate,
    role_may_not_read_a_table,
    role_sees_not_every_row,
    table_without_a_key,
    source_is_target_of_a_follow,
    target_role_of_a_follow_may_not_create,
    pooler_before_the_target_of_a_follow,
    pooler_before_the_source_of_a_prefetch,
    pooler_before_the_source_of_a_comparison,
    pooler_before_the_target_of_a_copy_of_data,
    pooler_before_the_source_of_a_snapshot,
    pooler_before_the_target_of_restored_schema,
    pooler_before_the_source_of_a_setup,
    pooler_before_the_target_of_a_setup,
    pooler_before_the_source_of_a_cleanup,
    pooler_before_the_target_of_a_cleanup,
    pooler_before_the_source_of_copied_roles,
    pooler_before_the_target_of_copied_roles,
    pooler_before_the_source_of_dumped_roles,
    pooler_before_the_target_of_restored_roles,
    no_capture_to_follow,
    nothing_to_follow,
    snapshot_that_is_not_the_slots,
    missing_slot,
    missing_slot_of_a_follow,
    slot_exists_already,
    slot_of_another_plugin,
    slot_of_another_database,
    slot_is_in_use,
    publication_of_other_tables,
    publication_of_all_tables,
    origin_of_somebody_else,
    target_is_not_empty,
    target_role_may_not_create,
    schema_of_our_name,
    work_directory_is_a_file,
    work_directory_holds_no_migration,
    work_directory_of_another_source,
    work_directory_of_another_target,
    cleanup_with_another_source,
    work_directory_in_use,
    restart_of_what_is_in_use,
    previous_run,
    plugin_of_the_migration_is_another,
    endpos_is_in_the_past,
)


@pytest.fixture
def bench(
    servers: Servers,
    make_cluster: MakeCluster,
    make_database: MakeDatabase,
    pgcopydb_command: Pgcopydb,
    pgcopydb_background: PgcopydbBackground,
    tmp_path: Path,
) -> Bench:
    pair = SourceTarget(
        make_database(servers.get(16, "source"), TABLE),
        make_database(servers.get(18, "target")),
    )
    return Bench(
        pair,
        tmp_path / "work",
        servers,
        make_cluster,
        make_database,
        pgcopydb_command,
        pgcopydb_background,
    )


def what_is_there(database: Database) -> list[str]:
    """Return all that a refused command could have left in a database."""
    relations = database.rows(
        "select 'relation ' || oid::regclass from pg_class where oid > 16383 and relkind <> 't'"
    )
    return litter(database) + sorted(name for (name,) in relations)


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.__name__)
def test_refused(case: Case, bench: Bench) -> None:
    with case(bench) as refusal:
        before = [what_is_there(side) for side in (bench.pair.source, bench.pair.target)]
        begun = time.monotonic()
        finished = bench.command(*refusal.arguments, timeout=SECONDS)
        assert time.monotonic() - begun < SECONDS
        after = [what_is_there(side) for side in (bench.pair.source, bench.pair.target)]

    told = [line for line in finished.stderr.splitlines() if "ERROR" in line]
    assert finished.status == refusal.status, finished.stderr
    assert len(told) == 1, finished.stderr
    assert told[0].startswith("ERROR: ")
    for word in refusal.words:
        assert word in finished.stderr.partition("HINT:")[0]
    assert finished.stdout == ""
    for forbidden in ("Traceback", "s3cret", "a defect of"):
        assert forbidden not in finished.stderr
    assert after == before
    for side in (bench.pair.source, bench.pair.target):
        assert wait_for(lambda: not sessions(side), seconds=5), sessions(side)  # noqa: B023
