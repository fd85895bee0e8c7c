"""A migration that is killed, or told to stop, and goes on as if nothing had been."""

import signal
import time

import pytest

from tests.scenarios.migration import Migration, assert_alone
from tests.support.clock import wait_for
from tests.support.commands import Running
from tests.support.litter import assert_quiet, litter
from tests.support.workload import APPLICATION

pytestmark = pytest.mark.parametrize("source_target", [(16, 18, APPLICATION)], indirect=True)


def wait_for_copy(running: Running) -> None:
    """Wait until a command has begun to copy tables."""
    assert wait_for(lambda: "copying" in running.stderr or not running.is_running)
    assert running.is_running, running.stderr


@pytest.mark.parametrize("command", [("clone", "--follow"), ("follow",)], ids=" ".join)
def test_killed_in_the_middle_it_resumes(migration: Migration, command: tuple[str, ...]) -> None:
    with migration.workload() as workload:
        with migration.start_follow(workload) as running:
            workload.wait_for_transactions(10)
            running.kill_all()
            running.wait(5)
        for _ in range(2):
            with migration.start(*command, "--resume") as running:
                migration.wait_until_applying(running)
                with migration.read_meanwhile():
                    workload.wait_for_transactions(5)
                running.kill_all()
                running.wait(5)
        with migration.start(*command, "--resume") as running:
            migration.wait_until_applying(running)
            with migration.read_meanwhile():
                migration.drain(running, workload)
    migration.judge()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_told_to_stop_it_stops_and_resumes(migration: Migration, number: signal.Signals) -> None:
    with migration.workload() as workload:
        with migration.start_follow(workload) as running:
            workload.wait_for_transactions(10)
            asked = time.monotonic()
            running.send_signal(number)
            finished = running.wait(10)
            assert time.monotonic() - asked < 10
        assert finished.status == 128 + number
        assert "Traceback" not in finished.stderr
        assert [line for line in finished.stderr.splitlines() if "ERROR" in line] == [
            "ERROR: stopped on request"
        ]
        assert_alone(running)
        assert_quiet(migration.pair)
        workload.wait_for_transactions(5)
        with migration.start("clone", "--follow", "--resume") as running:
            migration.wait_until_applying(running)
            migration.drain(running, workload)
    migration.judge()


def test_started_over_it_leaves_nothing_of_the_first_run(migration: Migration) -> None:
    with migration.workload() as workload:
        with migration.start_follow(workload) as running:
            workload.wait_for_transactions(5)
            running.kill_all()
            running.wait(5)
        with migration.start_follow(workload, "--restart", "--drop-if-exists") as running:
            workload.wait_for_transactions(5)
            migration.drain(running, workload)
    migration.judge()


def test_stopped_during_the_copy_it_keeps_no_slot(migration: Migration) -> None:
    with migration.workload() as workload, workload.not_truncating():
        with migration.start("clone", "--follow") as running:
            wait_for_copy(running)
            running.send_signal(signal.SIGTERM)
            assert running.wait(10).status == 128 + signal.SIGTERM
            assert_alone(running)
        assert_quiet(migration.pair)
        assert litter(migration.pair.source) == []
        workload.wait_for_transactions(1)
        refused = migration.run("clone", "--follow", "--resume", status=3)
        assert "--restart" in refused.stderr
        # what was stored of the slot that is gone fits no other copy, and holds up none
        with migration.start_follow(workload, "--restart"):
            pass


def test_killed_during_the_copy_it_is_refused_or_resumed(migration: Migration) -> None:
    with migration.workload() as workload:
        with workload.not_truncating(), migration.start("clone", "--follow") as running:
            wait_for_copy(running)
            running.kill_all()
            running.wait(5)
        # The snapshot died with its session, so the copy cannot be completed.
        refused = migration.run("clone", "--follow", "--resume", status=3)
        assert "--restart" in refused.stderr
        with migration.start_follow(workload, "--restart", "--drop-if-exists") as running:
            workload.wait_for_transactions(5)
            migration.drain(running, workload)
    migration.judge()
