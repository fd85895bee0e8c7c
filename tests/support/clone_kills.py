"""A base copy whose processes, sessions and servers are killed again and again, at random moments.

::

    CloneKillRun(pair, tmp_path, background, seed=7, faults=4).run()

The source is at rest, so that a clean run has one outcome. Whoever runs the command repeats it with
``--resume`` each time it has ended; the outcome is right when everything is equal then, nothing is
left behind, and no status said otherwise. The same seed takes the same decisions; the moments are
never quite the same.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random

from tests.scenarios.migration import assert_alone
from tests.support.clock import wait_for
from tests.support.commands import Finished, PgcopydbBackground, Running
from tests.support.disturbed import STOP_SECONDS, Tally
from tests.support.equality import differences
from tests.support.litter import assert_quiet, litter, processes
from tests.support.servers import Database, SourceTarget
from tests.support.source_health import SourceHealth, assert_healthy

_MANY_OF_A_KIND = """
create function public.touch_load() returns trigger language plpgsql as
  'begin return new; end';
do $$begin for n in 1..30 loop
  execute format('create table load_%s (id integer primary key, parent integer'
    ' references load_%s, pad text)', n, greatest(n - 1, 1));
  execute format('insert into load_%s select g, nullif(g - 1, 0), repeat(md5(g::text), 5)'
    ' from generate_series(1, 800) g', n);
  execute format('create index on load_%s (pad, id)', n);
  execute format('create materialized view filled_%s as select count(*) from load_%s', n, n);
  execute format('create trigger touch before insert on load_%s for each row'
    ' execute function touch_load()', n);
  execute format('comment on trigger touch on load_%s is ''load''', n);
  execute format('create rule quiet as on delete to load_%s do also nothing', n);
end loop; end$$;
create table load_large (id bigint primary key, pad text not null);
insert into load_large select g, repeat(md5(g::text), 8) from generate_series(1, 60000) g;
create index load_large_pad on load_large (left(pad, 10));
create index load_large_both on load_large (pad, id);
select count(lo_from_bytea(0, decode(repeat(md5(g::text), 20), 'hex')))
  from generate_series(1, 1500) g;
"""
"""Enough of everything for a copy of a second or two, so that each step can be hit."""

DATABASE = (Path(__file__).with_name("objects.sql")).read_text() + _MANY_OF_A_KIND
"""What the source's template is made with."""

PHASES = (
    ("dump", "schema"),
    ("restore", "pre-data"),
    ("copy", "table-data"),
    ("copy", "blobs"),
    ("copy", "sequences"),
    ("copy", "indexes"),
    ("copy", "constraints"),
    ("restore", "post-data"),
)
"""A copy as scripts make it, one command after another."""

_ENDING = {
    "supervisor": -signal.SIGKILL,
    "whole group": -signal.SIGKILL,
    "SIGTERM": 128 + signal.SIGTERM,
    "SIGINT": 128 + signal.SIGINT,
    "SIGHUP": 128 + signal.SIGHUP,
    "SIGTERM while a process stands still": 128 + signal.SIGTERM,
}
"""The status with which a command ends, by what was done to it."""

_TOLD = {3, 4, 5, 6, 7, 12}
"""Statuses that say what else may become of a copy."""

_PHASES_SHARE = 0.4
_SPARED_SHARE = 0.5
"""Of the phases, so that later ones are hit too."""
_SNAPSHOT_GONE = 3
_UNLOGGED = "shop.scratch:"
_IN_RECOVERY = ("starting up", "not yet accepting", "recovery mode", "shutting down")

_SESSIONS = """
select pid from pg_stat_activity
 where datname = current_database() and application_name like 'pgcopydb%'
"""


class CloneKillRun:
    """One base copy with ``faults`` kills in it.

    It is made by one command or ``in_phases``; None leaves that to chance.
    """

    def __init__(
        self,
        pair: SourceTarget,
        directory: Path,
        background: PgcopydbBackground,
        seed: int,
        *,
        faults: int,
        in_phases: bool | None = None,
    ) -> None:
        self._pair = pair
        self._directory = directory
        self._background = background
        self._random = Random(seed)
        self._faults = faults
        self._in_phases = self._random.random() < _PHASES_SHARE if in_phases is None else in_phases
        self._longest = 0.8 if self._in_phases else 2.0  # a phase is over within a second
        self._spared: set[int] = set()
        self._rows_are_copied = False
        """Whether the phase has ended that copies them, and knows of them."""
        self._emptied = False
        """Whether a crash of the target has emptied unlogged tables after that."""
        self.tally = Tally()

    def run(self) -> None:
        """Copy, kill and resume until everything is there; judge the outcome."""
        random = self._random
        options = ["--table-jobs", str(random.randint(1, 4))]
        options += random.choice([[], ["--split-tables-larger-than", "2MB"]])
        # Phases have one moment in common only while somebody holds it.
        held = self._in_phases or random.random() < 0.6
        own = litter(self._pair.source)
        with ExitStack() as stack:
            watch = stack.enter_context(SourceHealth(self._pair.source))
            self.tally.health = watch.health
            if held:
                stack.enter_context(self._snapshot())
            commands = PHASES if self._in_phases else (("clone",),)
            for words in commands:
                of_rows = words[-1] in {"clone", "table-data"}
                self._finish(words, options if of_rows else [], held=held)
                self._rows_are_copied |= of_rows
        assert_quiet(self._pair)
        assert_healthy(watch.health)
        differing = differences(self._pair.source, self._pair.target)
        if self._emptied:
            differing = [line for line in differing if not line.startswith(_UNLOGGED)]
        assert differing == []
        assert self._large_objects(self._pair.source) == self._large_objects(self._pair.target)
        assert litter(self._pair.source) == own
        assert litter(self._pair.target) == own

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Hold the snapshot in a process of its own, as for a copy that is to be resumed."""
        source = ["--source", self._pair.source.conninfo, "--dir", str(self._directory)]
        with self._background("snapshot", *source) as holding:
            assert wait_for(lambda: holding.stdout.endswith("\n")), holding.stderr
            self._spared = self._sessions(self._pair.source)
            yield

    def _finish(self, words: Sequence[str], options: list[str], *, held: bool) -> None:
        """Run one command, and resume it, until it has ended well."""
        sides = {"dump": self._pair.options[:2], "restore": self._pair.options[2:]}
        arguments = [*words, "--dir", str(self._directory)]
        arguments += [*sides.get(words[0], self._pair.options), *options]
        more: list[str] = []
        last_fault: tuple[str, float] | None = None
        for _ in range(self._faults + 8):
            with self._background(*arguments, *more) as running:
                spared = self._in_phases and self._random.random() < _SPARED_SHARE
                ways: list[str] = []
                while not spared and self._is_to_be_disturbed(running, ways):
                    for way in self._disturb(running):
                        ways.append(way)
                        last_fault = way, time.monotonic()
                ended = self._end(running, ways)
            if ended.status == 0:
                if last_fault is not None:
                    seconds = time.monotonic() - last_fault[1]
                    self.tally.recovered.setdefault(last_fault[0], []).append(seconds)
                return
            self.tally.resumed += 1
            more = self._go_on(ended, ways, more, held=held)
        raise AssertionError(f"{' '.join(words)} did not come to its end")

    def _is_to_be_disturbed(self, running: Running, ways: Sequence[str]) -> bool:
        """Tell whether a command to which that was done is to be disturbed once more."""
        ending = bool(ways) and ways[-1] in _ENDING
        return running.is_running and not ending and self.tally.faults.total() < self._faults

    def _end(self, running: Running, ways: Sequence[str]) -> Finished:
        """Wait for the end of a command, to which that was done; judge how it came."""
        last = ways[-1] if ways else None
        allowed = {0}
        if last in _ENDING:
            allowed.add(_ENDING[last])
            stopped = wait_for(lambda: not running.is_running, seconds=STOP_SECONDS)
            assert stopped, f"it outlives {last}:\n{running.stderr}"
        if len(ways) > 1 or last not in _ENDING:
            allowed |= _TOLD
        finished = running.wait(120)
        told = f"{ways}: {finished.status}: {finished.stderr}"
        assert finished.status in allowed, told
        assert finished.status == 0 or ways or self.tally.resumed, told
        assert "Traceback" not in finished.stderr, told
        assert_alone(running)
        if ways and finished.status == 0:
            self.tally.survived += 1
        return finished

    def _go_on(
        self, ended: Finished, ways: Sequence[str], more: list[str], *, held: bool
    ) -> list[str]:
        """Return the options with which the command is repeated after it ended so."""
        if "its snapshot is gone" in ended.stderr:
            assert not held, ended.stderr
            assert ended.status == _SNAPSHOT_GONE, ended.stderr
            return self._random.choice([["--resume", "--not-consistent"], ["--restart"]])
        if not ways and not any(text in ended.stderr for text in _IN_RECOVERY):
            assert "--resume" in ended.stderr, f"{more} {ended.status}: {ended.stderr}"
        return ["--resume", *(option for option in more if option == "--not-consistent")]

    # -- what is killed ----------------------------------------------------------------------------

    def _disturb(self, running: Running) -> list[str]:
        """Kill something at a random moment; return what, nothing when it had ended by then."""
        moment = time.monotonic() + self._random.uniform(0, self._longest)
        ways: dict[str, Callable[[Running], bool]] = {
            "supervisor": _kill_supervisor,
            "SIGTERM": lambda one: one.ask_to_stop(signal.SIGTERM),
            "SIGINT": lambda one: one.ask_to_stop(signal.SIGINT),
            "SIGHUP": lambda one: one.ask_to_stop(signal.SIGHUP),
            "whole group": _kill_group,
            "a process": lambda one: bool(self._signal_child(one, signal.SIGKILL)),
            "a process stands still": self._stop_child,
            "SIGTERM while a process stands still": self._stop_child_for_good,
            "target session": lambda _: self._terminate(self._pair.target),
            "source session": lambda _: self._terminate(self._pair.source),
            "target server": lambda _: self._restart_target(),
        }
        way = self._random.choice(list(ways))
        wait_for(lambda: not running.is_running, seconds=max(moment - time.monotonic(), 0.01))
        if not running.is_running or not ways[way](running):
            return []
        if way == "target server" and self._rows_are_copied:
            self._emptied = True
        self.tally.faults[way] += 1
        return [way]

    def _signal_child(self, running: Running, number: signal.Signals) -> int | None:
        """Send a signal to one of the processes that the command has started; return which.

        They are lanes and what forks them, pg_dump, pg_restore.
        """
        children = [pid for pid in processes(running.pid) if pid != running.pid]
        if not children:
            return None
        pid = self._random.choice(children)
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return pid

    def _stop_child(self, running: Running) -> bool:
        pid = self._signal_child(running, signal.SIGSTOP)
        if pid is None:
            return False
        wait_for(lambda: not running.is_running, seconds=self._random.uniform(0.2, 2.5))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        return True

    def _stop_child_for_good(self, running: Running) -> bool:
        if self._signal_child(running, signal.SIGSTOP) is None:
            return False
        wait_for(lambda: running.ask_to_stop(signal.SIGTERM) or not running.is_running)
        return True

    def _terminate(self, database: Database) -> bool:
        found = sorted(self._sessions(database) - self._spared)
        if not found:
            return False
        database.rows(f"select pg_terminate_backend({self._random.choice(found)})")
        return True

    def _sessions(self, database: Database) -> set[int]:
        return {pid for (pid,) in database.rows(_SESSIONS)}

    def _restart_target(self) -> bool:
        self._pair.target.cluster.kill()
        self._pair.target.cluster.start()
        return True

    def _large_objects(self, database: Database) -> list[tuple[object, ...]]:
        return database.rows(
            "select count(*), sum(hashtextextended(encode(data, 'hex'), loid::int8 + pageno))"
            " from pg_largeobject"
        )


def _kill_supervisor(running: Running) -> bool:
    running.send_signal(signal.SIGKILL)
    return True


def _kill_group(running: Running) -> bool:
    running.kill_all()
    return True
