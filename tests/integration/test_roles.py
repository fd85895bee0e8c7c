"""Roles and the properties of a database reach the other server; secrets reach nobody else."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.phases import Phases

pytestmark = pytest.mark.forked_commands

ROLES = r"""
    create role "Odd ""role""; drop" with login password 'se''cret\' createdb connection limit 7
      valid until '2031-02-03 04:05:06+00';
    create role readers noinherit;
    create role chief superuser createrole replication bypassrls;
    create role kept login;
    grant readers to "Odd ""role""; drop" with admin option;
    grant pg_read_all_stats to readers;
    alter role "Odd ""role""; drop" set search_path to "a, b", "$user", public;
    alter role "Odd ""role""; drop" set datestyle to 'SQL, DMY';
    alter role "Odd ""role""; drop" set "my.setting" to 'it''s';
    comment on role readers is 'they ''read''';
"""

DESCRIBED = """
    select rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
      rolbypassrls, rolconnlimit, rolvaliduntil, rolpassword, shobj_description(oid, 'pg_authid'),
      (select setconfig from pg_db_role_setting where setrole = a.oid and setdatabase = 0),
      (select array_agg(roleid::regrole || ' ' || admin_option order by roleid::regrole::text)
        from pg_auth_members where member = a.oid)
    from pg_authid as a where rolname in ('Odd "role"; drop', 'readers', 'chief') order by 1
"""

OPTIONS = """
    select roleid::regrole::text, member::regrole::text, grantor::regrole::text,
      admin_option, inherit_option, set_option
    from pg_auth_members where member::regrole::text in ('one', 'two', 'three') order by 1, 2, 3
"""

PROPERTIES = """
    select shobj_description(d.oid, 'pg_database'),
      (select array_agg(setrole::regrole || ' ' || setconfig::text order by setrole::regrole::text)
        from pg_db_role_setting where setdatabase = d.oid),
      (select array_agg(grantee::regrole || ' ' || privilege_type || ' ' || is_grantable
          order by grantee::regrole::text, privilege_type)
        from aclexplode(datacl) where grantee <> datdba),
      datconnlimit
    from pg_database d where datname = current_database()
"""


@pytest.mark.parametrize("source_target", [(15, 15), (15, 18)], indirect=True)
def test_roles_that_are_new_are_created_and_others_kept(phases: Phases) -> None:
    source, target = phases.pair.source, phases.pair.target
    source.execute(ROLES)
    target.execute("create role kept nologin")
    logged = phases.run("copy", "roles", "--debug")
    assert target.rows(DESCRIBED) == source.rows(DESCRIBED)
    assert len(source.rows(DESCRIBED)) == 3
    assert target.rows("select rolcanlogin from pg_roles where rolname = 'kept'") == [(False,)]
    assert "3 roles created" in logged.stdout
    assert "SCRAM" not in logged.stdout + logged.stderr
    assert "0 roles created" in phases.run("copy", "roles").stdout


@pytest.mark.parametrize("source_target", [(16, 18)], indirect=True)
def test_memberships_and_their_grantors(phases: Phases) -> None:
    source, target = phases.pair.source, phases.pair.target
    source.execute(
        """
        create role one; create role two; create role three; create role shared;
        grant shared to one with admin true, inherit false, set false;
        set role one; grant shared to two with inherit true, set false; reset role;
        grant shared to three;
        """,
    )
    dumped = phases.run("dump", "roles", "--no-role-passwords")
    assert "roles dumped" in dumped.stdout
    assert stat.S_IMODE((phases.directory / "schema" / "roles.json").stat().st_mode) == 0o600
    script = (phases.directory / "schema" / "roles.sql").read_text()
    assert 'GRANT "shared" TO "two" WITH ADMIN FALSE, INHERIT TRUE, SET FALSE' in script
    phases.run("restore", "roles")
    assert target.rows(OPTIONS) == source.rows(OPTIONS)
    assert len(target.rows(OPTIONS)) == 3
    for side in (source, target):
        # In this order: a grantor cannot go before those to whom it granted.
        side.execute("drop role two; drop role three; drop role shared; drop role one")


@pytest.mark.parametrize("source_target", [(18, 16)], indirect=True)
def test_a_setting_that_the_target_does_not_know(phases: Phases) -> None:
    phases.pair.source.execute(
        "create role timed; alter role timed set transaction_timeout = '1min';"
        " alter role timed set work_mem = '9MB'"
    )
    copied = phases.run("copy", "roles")
    assert "there is no parameter transaction_timeout" in copied.stderr
    assert phases.pair.target.rows("select rolconfig from pg_roles where rolname = 'timed'") == [
        (["work_mem=9MB"],)
    ]


PARAMETERS = """
    select p.parname, a.grantee::regrole::text, a.privilege_type, a.is_grantable
    from pg_parameter_acl as p, aclexplode(p.paracl) as a where a.grantee >= 16384 order by 1, 2, 3
"""


@pytest.fixture
def tuners(phases: Phases) -> Iterator[Phases]:
    """The same, with roles dropped that have rights on parameters, which are no database's."""
    yield phases
    for database in (phases.pair.source, phases.pair.target):
        for role in ("tuner", "kept_tuner"):
            database.execute(f"drop owned by {role}; drop role {role}")


@pytest.mark.parametrize("source_target", [(15, 18)], indirect=True)
def test_new_roles_get_their_rights_on_parameters(tuners: Phases) -> None:
    source, target = tuners.pair.source, tuners.pair.target
    source.execute(
        """
        create role tuner; create role kept_tuner;
        grant set on parameter log_min_messages to tuner with grant option;
        grant set, alter system on parameter work_mem to tuner;
        grant set on parameter "my.Own" to tuner;
        grant set on parameter promote_trigger_file to tuner;
        grant set on parameter session_replication_role to kept_tuner;
        """
    )
    target.execute("create role kept_tuner")
    copied = tuners.run("copy", "roles")
    given = [row for row in source.rows(PARAMETERS) if row[0] != "promote_trigger_file"]
    assert target.rows(PARAMETERS) == [row for row in given if row[1] == "tuner"]
    assert len(target.rows(PARAMETERS)) == 4
    assert 'left out: GRANT SET ON PARAMETER "promote_trigger_file" TO "tuner"' in copied.stderr
    tuners.run("dump", "roles", "--no-role-passwords")
    script = (tuners.directory / "schema" / "roles.sql").read_text()
    assert 'GRANT SET ON PARAMETER "log_min_messages" TO "tuner" WITH GRANT OPTION;' in script
    target.execute("drop owned by tuner; drop role tuner")
    tuners.run("restore", "roles")
    assert len(target.rows(PARAMETERS)) == 4


def test_what_a_weak_role_may_do(phases: Phases) -> None:
    source, target = phases.pair.source, phases.pair.target
    source.execute("create role weak login; create role fresh login")
    weak = [
        "--dir",
        str(phases.directory),
        "--source",
        source.cluster.conninfo(source.name, user="weak"),
    ]
    sides = [*weak, "--target", target.conninfo]
    refused = phases.command("copy", "roles", *sides)
    assert refused.status == 2, refused.stderr
    assert "may not read the passwords" in refused.stderr
    assert "--no-role-passwords" in refused.stderr
    copied = phases.command("copy", "roles", *sides, "--no-role-passwords")
    assert copied.status == 0, copied.stderr
    assert target.rows("select count(*) from pg_roles where rolname in ('weak', 'fresh')") == [(2,)]
    assert "holds no dump of roles" in phases.run("restore", "roles", status=3).stderr


@pytest.mark.parametrize("source_target", [(15, 15), (15, 18)], indirect=True)
def test_a_clone_with_roles_and_properties(phases: Phases, tmp_path: Path) -> None:
    source, target = phases.pair.source, phases.pair.target
    name = source.name
    source.execute(
        f"""
        create role "o'wner"; create role app login; create role reader;
        create table t (id integer primary key); insert into t values (1);
        alter table t owner to "o'wner"; grant select on t to reader;
        alter database {name} set search_path to app, "$user", public;
        alter database {name} set work_mem = '7MB';
        alter role app in database {name} set statement_timeout = '5s';
        comment on database {name} is 'it''s the shop';
        revoke temporary, connect on database {name} from public;
        grant connect on database {name} to app with grant option;
        alter database {name} connection limit 42; alter database {name} owner to reader;
        """
    )
    unready = phases.command("check", "--dir", tmp_path / "before", *phases.pair.options)
    assert 'role "app" is not there, its setting statement_timeout is left out' in unready.stdout
    assert 'role "app" is not there, its right to CONNECT is left out' in unready.stdout
    assert "WARNING" not in unready.stderr
    cloned = phases.run("clone", "--roles")
    assert "is not there" not in cloned.stderr
    assert target.rows("select relowner::regrole::text from pg_class where relname = 't'") == [
        ('"o\'wner"',)
    ]
    assert target.rows(PROPERTIES) == source.rows(PROPERTIES)
    # Whoever made the database owns it; a note says so.
    same = phases.run("compare", "schema")
    assert "note: database properties: owner reader on the source, postgres on the target" in (
        same.stdout
    )
    checked = phases.command("check", "--dir", tmp_path / "third", *phases.pair.options)
    assert f'ALTER DATABASE "{target.name}" OWNER TO "reader";' in checked.stdout
    target.execute(f"alter database {target.name} connection limit 41")
    assert "connection limit 42 -> 41" in phases.run("compare", "schema", status=8).stdout
    other = tmp_path / "other"
    target.execute("drop table t")
    target.execute(f"alter database {target.name} reset all")
    sides = phases.pair.options
    again = phases.command("clone", "--skip-db-properties", "--dir", other, *sides)
    assert again.status == 0, again.stderr
    assert not any(
        "work_mem" in str(row) for row in target.rows("select setconfig from pg_db_role_setting")
    )


MEMBERS = """
    select roleid::regrole::text, member::regrole::text, grantor::regrole::text,
      admin_option, inherit_option, set_option
    from pg_auth_members where roleid >= 16384 order by 1, 2, 3
"""


@pytest.fixture
def members(phases: Phases) -> Iterator[Phases]:
    """The same, with roles that granted dropped after those to whom they did."""
    yield phases
    for database in (phases.pair.source, phases.pair.target):
        for role in ("sub", "app", "team", "mover", "boss"):
            database.execute(f"drop role if exists {role}")


@pytest.mark.parametrize("source_target", [(16, 18)], indirect=True)
def test_memberships_that_a_creator_of_roles_may_not_grant_as_they_were(members: Phases) -> None:
    """It administers what it creates, as on the source, and may not grant as another role."""
    source, target = members.pair.source, members.pair.target
    source.execute(
        """
        create role mover login createrole; create role boss createrole;
        set role mover; create role app; create role sub; grant app to sub;
        grant app to mover with inherit false, set true; reset role;
        set role boss; create role team; grant team to sub with inherit false;
        grant team to mover with admin true; reset role;
        grant team to sub with set false, inherit true
        """
    )
    target.execute("create role mover login createrole")
    as_mover = target.cluster.conninfo(target.name, user="mover")
    options = ["--dir", str(members.directory), "--source", source.conninfo, "--target", as_mover]
    copied = members.command("copy", "roles", "--no-role-passwords", *options)
    assert copied.status == 0, copied.stderr
    assert target.rows(MEMBERS) == [
        ("app", "mover", "mover", False, False, True),
        ("app", "mover", "postgres", True, False, False),
        ("app", "sub", "mover", False, True, True),
        ("boss", "mover", "postgres", True, False, False),
        ("sub", "mover", "postgres", True, False, False),
        ("team", "boss", "mover", True, False, False),
        ("team", "mover", "mover", False, True, True),
        ("team", "mover", "postgres", True, False, False),
        ("team", "sub", "mover", False, True, True),
    ]


@pytest.mark.parametrize("source_target", [(16, 18)], indirect=True)
def test_a_grantor_that_may_not_grant_on_the_target(members: Phases) -> None:
    """Among roles that are there nothing is granted, so that it may be no admin of the role."""
    source, target = members.pair.source, members.pair.target
    source.execute(
        "create role boss createrole; set role boss; create role app; create role sub;"
        " grant app to sub"
    )
    target.execute("create role boss; create role app")
    members.run("copy", "roles", "--no-role-passwords")
    assert [row[:3] for row in target.rows(MEMBERS)] == [
        ("app", "sub", "postgres"),
        ("sub", "boss", "postgres"),
    ]
