"""Worker processes: what reaches them, what comes back, and that none outlives its parent."""

import asyncio
import collections
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from pgcopydb.demo.processes import children, is_alive
from pgcopydb.errors import SourceError, WorkerError
from pgcopydb.runtime import fork_server, signals
from pgcopydb.runtime.runaway import ending_runaways
from pgcopydb.runtime.workers import Worker, WorkerGroup
from tests.support.clock import wait_for


@dataclass(frozen=True, slots=True)
class Say:
    """What a worker is to tell through a connection of its parent's."""

    to: Connection
    what: str = ""


def say_what_it_has(task: Say) -> None:
    """Tell what a worker was given, and what it has open."""
    descriptors = {
        str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.exists()
    }
    task.to.send((task.what, os.getpid(), sorted(descriptors)))


def say_what_others_may_do_with_its_files(task: Say) -> None:
    """Make a file, and tell its mode."""
    path = Path(task.what)
    path.touch()
    task.to.send(path.stat().st_mode & 0o077)


def fail(_: Say) -> None:
    """Fail as a worker does that lost the source."""
    raise SourceError("source: gone", hint="bring it back")


def break_down(_: Say) -> None:
    """Fail as a defect does."""
    raise ZeroDivisionError("no reason")


def wait_for_the_end(task: Say) -> None:
    """Say that it is there, then wait until it is asked to stop."""
    task.to.send(os.getpid())
    while not signals.stop_requested():
        time.sleep(0.01)
    task.to.send("stopped")


def never_end(task: Say) -> None:
    """Say that it is there, and go on whatever happens."""
    task.to.send(os.getpid())
    while True:
        time.sleep(1)


def work_and_then_run_away(task: Say) -> None:
    """Use the processor while the loop turns, and then while it does not, as asyncpg can."""
    asyncio.run(_work_and_then_run_away(task))


async def _work_and_then_run_away(task: Say) -> None:
    async with ending_runaways(0.3):
        started = time.process_time()
        while time.process_time() < started + 0.9:
            await asyncio.sleep(0)
        task.to.send("worked")
        collections.deque(itertools.repeat(None), maxlen=0)


@pytest.fixture
def group() -> Iterator[WorkerGroup]:
    with WorkerGroup() as group:
        yield group


def test_a_worker_has_its_argument_and_nothing_that_was_open(
    group: WorkerGroup, tmp_path: Path
) -> None:
    ours, theirs = Pipe()
    with (tmp_path / "open in the parent").open("w"):
        group.start(Worker("say", say_what_it_has, Say(theirs, "hello")))
        what, pid, descriptors = ours.recv()
    group.wait()
    assert what == "hello"
    assert pid != os.getpid()
    assert not [name for name in descriptors if "open in the parent" in name]


def test_what_a_worker_writes_is_private(group: WorkerGroup, tmp_path: Path) -> None:
    ours, theirs = Pipe()
    task = Say(theirs, str(tmp_path / "rows"))
    group.start(Worker("write", say_what_others_may_do_with_its_files, task))
    assert ours.recv() == 0
    group.wait()


def test_errors_come_home(group: WorkerGroup) -> None:
    _, theirs = Pipe()
    group.start(Worker("fail", fail, Say(theirs)))
    with pytest.raises(SourceError, match="source: gone") as caught:
        group.wait()
    assert caught.value.hint == "bring it back"


def test_a_defect_names_its_place(group: WorkerGroup) -> None:
    _, theirs = Pipe()
    group.start(Worker("break", break_down, Say(theirs)))
    with pytest.raises(WorkerError, match=r"ZeroDivisionError: no reason \(break_down, line"):
        group.wait()


def test_a_killed_worker_is_noticed(group: WorkerGroup) -> None:
    ours, theirs = Pipe()
    group.start(Worker("endless", never_end, Say(theirs)))
    os.kill(ours.recv(), signal.SIGKILL)
    with pytest.raises(WorkerError, match="endless was ended by SIGKILL"):
        group.wait()


def test_workers_are_asked_to_stop(group: WorkerGroup) -> None:
    ours, theirs = Pipe()
    group.start(Worker("waiting", wait_for_the_end, Say(theirs)))
    pid = ours.recv()
    group.stop()
    assert ours.recv() == "stopped"
    assert not group.alive()
    assert not is_alive(pid)


@pytest.mark.parametrize("which", ["worker", "the process that forks workers"])
def test_one_that_stands_still_is_let_go_on_to_stop(group: WorkerGroup, which: str) -> None:
    ours, theirs = Pipe()
    group.start(Worker("waiting", wait_for_the_end, Say(theirs)))
    worker = ours.recv()
    os.kill(worker if which == "worker" else _forking(), signal.SIGSTOP)
    started = time.monotonic()
    group.stop()
    assert ours.recv() == "stopped"
    assert time.monotonic() - started < 4  # one that cannot hear is killed, later


def _forking() -> int:
    pid = fork_server.pid()
    assert pid is not None
    return pid


def test_a_signal_that_comes_before_the_worker_is_ready_is_not_lost(group: WorkerGroup) -> None:
    ours, theirs = Pipe()
    for _ in range(20):
        group.start(Worker("waiting", wait_for_the_end, Say(theirs)))
        started = time.monotonic()
        group.stop()  # asks at once, and again after seconds only
        assert ours.recv() != "stopped"
        assert ours.recv() == "stopped"
        assert time.monotonic() - started < 4


def test_workers_go_with_the_process_that_forks_them_and_the_next_is_forked_by_another(
    group: WorkerGroup,
) -> None:
    ours, theirs = Pipe()
    group.start(Worker("endless", never_end, Say(theirs)))
    worker = ours.recv()
    server = _parent_of(worker)
    os.kill(server, signal.SIGKILL)
    with pytest.raises(WorkerError, match="endless was lost"):
        group.wait()
    assert wait_for(lambda: not is_alive(worker), seconds=2)
    group.start(Worker("say", say_what_it_has, Say(theirs, "again")))
    assert ours.recv()[0] == "again"
    group.wait()


_PARENT = """
import sys, time
from multiprocessing import Pipe
from pgcopydb.runtime import fork_server
from pgcopydb.runtime.workers import Worker, WorkerGroup
from tests.integration.test_workers import Say, never_end
if sys.argv[1] == "forked":
    fork_server.prepare()
ours, theirs = Pipe()
with WorkerGroup() as group:
    for _ in range(2):
        group.start(Worker("endless", never_end, Say(theirs)))
        print(ours.recv(), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("way", ["forked", "launched"])
def test_nothing_outlives_a_parent_that_is_killed(way: str) -> None:
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, way], env=env, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        (server,) = children(parent.pid)
        assert sorted(children(server)) == sorted(workers)
        parent.kill()
        assert wait_for(lambda: not any(map(is_alive, (*workers, server))), seconds=2)


def test_a_server_that_cannot_be_reached_is_an_error() -> None:
    ours, theirs, life, alive = fork_server._channels()
    os.close(life)
    theirs.close()
    with subprocess.Popen(["sleep", "60"]) as process:
        server = fork_server.ForkServer(ours, alive, process.pid)
        with pytest.raises(WorkerError, match="cannot be started"):
            server.start(never_end, None)
        server.close()


def _parent_of(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def test_a_worker_whose_loop_no_longer_turns_is_ended(group: WorkerGroup) -> None:
    """In compiled code that lets no signal handler and no thread come to its turn."""
    ours, theirs = Pipe()
    group.start(Worker("runaway", work_and_then_run_away, Say(theirs)))
    assert ours.recv() == "worked"
    with pytest.raises(WorkerError, match="runaway was ended: it went round and round"):
        group.wait()
