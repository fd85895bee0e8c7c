"""What a migration may not leave behind (oracle O6)."""

from pathlib import Path

from tests.support.clock import wait_for
from tests.support.servers import Database, SourceTarget

# Slots, origins and prepared transactions are a server's; the tests of a session use a server one
# after the other, so any that is there is left behind.
_LITTER = """
select 'slot ' || slot_name from pg_replication_slots
union all select 'origin ' || roname from pg_replication_origin
union all select 'prepared transaction ' || gid from pg_prepared_xacts
union all select 'publication ' || pubname from pg_publication
union all select 'schema ' || nspname from pg_namespace where nspname like 'pgcopydb%'
union all select 'event trigger ' || evtname from pg_event_trigger
union all select 'function ' || proname from pg_proc where proname like 'pgcopydb%'
"""

_SESSIONS = """
select format('session %s of %s, %s: %s', pid, application_name, state, query)
  from pg_stat_activity
 where application_name like 'pgcopydb%' and pid <> pg_backend_pid()
"""


def litter(database: Database) -> list[str]:
    """Return what a migration has left on a server and in its database, sessions apart."""
    return sorted(found for (found,) in database.rows(_LITTER))


def sessions(database: Database) -> list[str]:
    """Return the sessions of a migration that are still connected to a server."""
    return sorted(found for (found,) in database.rows(_SESSIONS))


def processes(session: int) -> dict[int, str]:
    """Return the processes that a command has left, which was started as leader of a session.

    By number, with their command lines.
    """
    found = {}
    for directory in Path("/proc").iterdir():
        if not directory.name.isdecimal():
            continue
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
            command = (
                (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
        except OSError:  # it has ended meanwhile
            continue
        # proc(5): state, parent, process group and session follow the name in parentheses.
        if int(fields[3]) == session and fields[0] != "Z":
            found[int(directory.name)] = command
    return found


def assert_quiet(pair: SourceTarget) -> None:
    """Assert that no session of a migration stays connected to either server."""
    for database in (pair.source, pair.target):
        wait_for(lambda: not sessions(database), seconds=5)  # noqa: B023 - called at once
        assert sessions(database) == []


def assert_no_litter(pair: SourceTarget) -> None:
    """Assert that neither server keeps anything of a migration that was cleaned up."""
    assert_quiet(pair)
    assert {"source": litter(pair.source), "target": litter(pair.target)} == {
        "source": [],
        "target": [],
    }
