"""Triggers and foreign keys of the target: silent while changes are applied, as they were after."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgcopydb.cdc import silence
from pgcopydb.model.endpoint import Side
from pgcopydb.model.options import WorkOptions
from pgcopydb.workdir.directory import open_directory
from tests.support.clock import wait_for
from tests.support.commands import Pgcopydb, PgcopydbBackground
from tests.support.equality import differing_tables
from tests.support.servers import Database, SourceTarget
from tests.support.steps import Stream

pytestmark = pytest.mark.forked_commands

SCHEMA = """
create table customer (id integer primary key, name text, referrer integer references customer);
create table purchase (
  id integer generated always as identity primary key,
  customer_id integer not null references customer on delete cascade,
  total numeric not null
);
create table audit (id bigint generated always as identity primary key, what text);
create function note() returns trigger language plpgsql as $$
begin
  insert into public.audit (what) values (tg_op || ' ' || tg_table_name);
  return null;
end $$;
create trigger audit after insert or update or delete on purchase
  for each row execute function note();
create trigger always after insert or update or delete on customer
  for each row execute function note();
alter table customer enable always trigger always;
insert into customer values (1, 'one', null), (2, 'two', 1), (3, 'three', 1), (4, 'four', 3);
insert into purchase (customer_id, total) values (1, 10.50), (2, 20.00), (3, 30);
"""

CHANGES = """
insert into customer select g, 'n' || g, g - 1 from generate_series(5, 200) g;
insert into purchase (customer_id, total) select g, g * 1.5 from generate_series(5, 200) g;
update customer set referrer = 2 where id = 4;
delete from customer where id = 3;
delete from customer where id > 100;
update purchase set total = total + 1;
"""

LIMITED_ROLE = "migrator_limited"


@pytest.fixture
def limited_role(source_target: SourceTarget) -> Iterator[str]:
    """A role of the target that owns its database and has no other right."""
    target = source_target.target
    target.execute(f"create role {LIMITED_ROLE} login")
    target.execute(
        f'alter database "{target.name}" owner to {LIMITED_ROLE};'
        f" alter schema public owner to {LIMITED_ROLE}"
    )
    yield target.conninfo.replace("user=postgres", f"user={LIMITED_ROLE}")
    target.execute(f"reassign owned by {LIMITED_ROLE} to postgres; drop owned by {LIMITED_ROLE}")
    target.execute(f"drop role {LIMITED_ROLE}")


def follow_changes(
    pair: SourceTarget,
    target: str,
    directory: Path,
    background: PgcopydbBackground,
    command: Pgcopydb,
) -> str:
    """Run a whole online migration with CHANGES in its follow phase; return its log."""
    arguments = ("--source", pair.source.conninfo, "--dir", str(directory))
    with background(
        "clone", "--follow", "--no-owner", "--no-acl", "--target", target, *arguments
    ) as running:
        assert wait_for(lambda: "applying from" in running.stderr or not running.is_running)
        pair.source.execute(CHANGES)
        finished = command("stream", "sentinel", "set", "endpos", "--current", *arguments)
        assert finished.status == 0, finished.stderr
        result = running.wait(60)
    assert result.status == 0, result.stderr
    finished = command("stream", "cleanup", "--target", target, *arguments)
    assert finished.status == 0, finished.stderr
    return result.stderr


def set_present_end(pair: SourceTarget, directory: Path, command: Pgcopydb) -> None:
    options = ("--source", pair.source.conninfo, "--dir", str(directory))
    finished = command("stream", "sentinel", "set", "endpos", "--current", *options)
    assert finished.status == 0, finished.stderr


def trigger_states(database: Database) -> list[tuple[object, ...]]:
    return database.rows(
        "select tgname::text, tgenabled::text from pg_trigger where not tgisinternal order by 1"
    )


def constraints(database: Database) -> list[tuple[object, ...]]:
    return database.rows(
        "select conname::text, pg_get_constraintdef(oid), convalidated from pg_constraint"
        " where connamespace = 'public'::regnamespace and contype <> 'n' order by 1"
    )


@pytest.mark.parametrize("source_target", [(16, 18, SCHEMA)], indirect=True)
def test_always_triggers_are_silent_until_the_end(
    source_target: SourceTarget,
    tmp_path: Path,
    pgcopydb_background: PgcopydbBackground,
    pgcopydb_command: Pgcopydb,
) -> None:
    """Ruling 21: an audit trigger that is ENABLE ALWAYS would write every row twice."""
    pair = source_target
    follow_changes(
        pair, pair.target.conninfo, tmp_path / "work", pgcopydb_background, pgcopydb_command
    )
    assert differing_tables(pair.source, pair.target) == []
    assert trigger_states(pair.target) == trigger_states(pair.source)


@pytest.mark.parametrize("source_target", [(16, 18, SCHEMA)], indirect=True)
def test_a_follow_that_goes_on_after_its_end_silences_them_again(
    source_target: SourceTarget,
    tmp_path: Path,
    pgcopydb_background: PgcopydbBackground,
    pgcopydb_command: Pgcopydb,
) -> None:
    """They were given back at the end of the first one."""
    pair = source_target
    sides = (*pair.options, "--dir", str(tmp_path / "work"))
    with pgcopydb_background("clone", "--follow", *sides) as running:
        assert wait_for(lambda: "applying from" in running.stderr or not running.is_running)
        pair.source.execute(CHANGES)
        set_present_end(pair, tmp_path / "work", pgcopydb_command)
        assert running.wait(60).status == 0, running.stderr
    pair.source.execute("update customer set name = name || '!'")
    set_present_end(pair, tmp_path / "work", pgcopydb_command)
    finished = pgcopydb_command("follow", "--resume", *sides)
    assert finished.status == 0, finished.stderr
    assert differing_tables(pair.source, pair.target) == []
    assert trigger_states(pair.target) == trigger_states(pair.source)
    assert pgcopydb_command("stream", "cleanup", *sides).status == 0


@pytest.mark.parametrize("source_target", [(16, 18, SCHEMA)], indirect=True)
def test_a_role_without_rights_gets_triggers_and_foreign_keys_after_the_drain(
    source_target: SourceTarget,
    limited_role: str,
    tmp_path: Path,
    pgcopydb_background: PgcopydbBackground,
    pgcopydb_command: Pgcopydb,
) -> None:
    """Rulings 21 and 22: no replication origins, no session_replication_role."""
    pair = source_target
    # Which would keep out this role's own sessions as long as they are more.
    pair.source.execute(f"alter database {pair.source.name} connection limit 2")
    log = follow_changes(
        pair, limited_role, tmp_path / "work", pgcopydb_background, pgcopydb_command
    )
    assert "progress is kept in a table" in log
    assert differing_tables(pair.source, pair.target) == []
    assert constraints(pair.target) == constraints(pair.source)
    assert trigger_states(pair.target) == trigger_states(pair.source)
    assert pair.target.rows("select 1 from pg_namespace where nspname = 'pgcopydb'") == []
    limit = "select datconnlimit from pg_database where datname = current_database()"
    assert pair.target.rows(limit) == [(2,)]


@pytest.mark.parametrize("source_target", [(16, 18, SCHEMA)], indirect=True)
def test_cleanup_on_a_source_that_is_read_only_by_default(
    source_target: SourceTarget, tmp_path: Path, pgcopydb_command: Pgcopydb
) -> None:
    """A source that was fenced off for the cut-over must still lose its slot and publication."""
    pair = source_target
    arguments = (*pair.options, "--dir", str(tmp_path / "work"))
    pair.target.execute(SCHEMA)
    done = pgcopydb_command("stream", "setup", "--create-slot", *arguments)
    assert done.status == 0, done.stderr
    pair.source.execute(
        f'alter database "{pair.source.name}" set default_transaction_read_only = on'
    )
    done = pgcopydb_command("stream", "cleanup", *arguments)
    assert done.status == 0, done.stderr
    assert pair.source.rows("select from pg_publication") == []
    assert pair.source.rows("select from pg_replication_slots where slot_name = 'pgcopydb'") == []


MADE_MEANWHILE = """
create function again() returns trigger language plpgsql as $$
begin
  insert into public.twin values (new.id);
  return null;
end $$;
create trigger again after insert on item for each row execute function again();
alter table item enable always trigger again;
"""


def test_a_trigger_that_is_made_meanwhile_is_told_and_what_it_did_found(stream: Stream) -> None:
    """The source has done already what it does again."""
    stream.both(
        "create table item (id integer primary key); create table twin (id integer);"
        " alter table twin replica identity full"
    )
    stream.set_up()
    with stream.start("stream", "replay") as running:
        stream.pair.source.execute("insert into item values (1); insert into twin values (1)")
        assert wait_for(lambda: stream.count("twin") == 1), running.stderr
        stream.pair.target.execute(MADE_MEANWHILE)
        assert wait_for(lambda: "again of public.item" in running.stderr), running.stderr
        stream.pair.source.execute("insert into item values (2); insert into twin values (2)")
        assert wait_for(lambda: stream.count("twin") == 3), running.stderr
        stream.set_endpos()
        finished = running.wait(60)
    assert finished.status == 3, finished.stderr
    assert "public.twin 2 rows on the source, 3 on the target" in finished.stderr
    stream.pair.target.execute("alter table item disable trigger again")
    assert "again of public.item" in stream.run("stream", "replay", "--resume", status=3).stderr
    stream.pair.target.execute(
        "delete from twin where ctid = (select max(ctid) from twin where id = 2)"
    )
    assert "all tables are equal" in stream.run("stream", "replay", "--resume").stderr
    assert "again" not in stream.run("stream", "replay", "--resume").stderr


def test_a_trigger_that_was_made_between_two_follows_may_have_fired(stream: Stream) -> None:
    stream.both("create table item (id integer primary key); create table twin (id integer)")
    stream.both("alter table twin replica identity full")
    stream.set_up()
    with stream.start("stream", "replay") as running:
        stream.pair.source.execute("insert into item values (1); insert into twin values (1)")
        assert wait_for(lambda: stream.count("twin") == 1), running.stderr
        running.kill_all()
        running.wait()
    stream.pair.target.execute(MADE_MEANWHILE + "insert into twin values (1)")
    stream.set_endpos()
    finished = stream.run("stream", "replay", "--resume", status=3)
    assert "again of public.item" in finished.stderr


@pytest.mark.parametrize("source_target", [(16, 18, SCHEMA)], indirect=True)
def test_a_run_that_is_killed_while_it_silences_them_has_let_none_fire(
    source_target: SourceTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source_target.target.execute(SCHEMA)
    target = source_target.target.endpoint(Side.TARGET)

    class Killed(Exception):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with open_directory(WorkOptions(directory=tmp_path / "work"), command="clone --follow") as work:
        with monkeypatch.context() as patch:
            patch.setattr(silence, "disable_triggers", killed)
            with pytest.raises(Killed):
                silence.silence_triggers(work, target)
        # Else it would look for them in the list of followed tables, which there is none of yet.
        silence.silence_triggers(work, target)
        assert ("always", "D") in trigger_states(source_target.target)
        silence.give_back_triggers(work, target)
    assert trigger_states(source_target.target) == trigger_states(source_target.source)
