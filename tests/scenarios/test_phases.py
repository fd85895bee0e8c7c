"""A migration step by step, from several shells, as the scripts of today's users do it."""

import signal
from contextlib import ExitStack

import pytest

from tests.scenarios.migration import Migration, assert_alone
from tests.support.workload import APPLICATION

pytestmark = pytest.mark.forked_commands


def data_version(migration: Migration) -> list[tuple[object, ...]]:
    """Return what differs after anything was written to the target's tables."""
    return migration.pair.target.rows(
        "select sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del) from pg_stat_user_tables"
        " where schemaname <> 'pgcopydb'"
    )


@pytest.mark.parametrize("source_target", [(15, 15, APPLICATION)], indirect=True)
@pytest.mark.parametrize("plugin", ["pgoutput", "test_decoding", "wal2json"])
def test_snapshot_clone_prefetch_catchup_follow(migration: Migration, plugin: str) -> None:
    migration.plugin = plugin
    with migration.workload() as workload:
        workload.wait_for_transactions(5)
        with ExitStack() as holding, workload.not_truncating():
            snapshot = holding.enter_context(migration.hold_snapshot("--plugin", plugin))
            assert len(snapshot.stdout.split()) == 1
            workload.wait_for_transactions(5)
            migration.run("stream", "setup")
            migration.run("clone")
            snapshot.send_signal(signal.SIGTERM)
            assert snapshot.wait(10).status == 0
            assert_alone(snapshot)

        first = migration.sentinel("set", "endpos", "--current")
        migration.run("stream", "prefetch")
        assert migration.sentinel("get", "--endpos") == first
        migration.run("stream", "catchup")

        before = data_version(migration)
        migration.run("stream", "prefetch", "--endpos", first)
        migration.run("stream", "catchup", "--endpos", first)
        assert data_version(migration) == before

        migration.sentinel("set", "endpos", "0/0")
        with migration.start("follow", "--resume") as running, migration.read_meanwhile():
            workload.wait_for_transactions(10)
            migration.drain(running, workload)
    migration.judge()
