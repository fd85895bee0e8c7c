"""A base copy whose processes, sessions and servers are killed again and again, at random moments.

::

    CloneKillRun(pair, tmp_path, background, seed=7, kills=4).run()

The source is at rest, so that a clean run has one outcome. Whoever runs the command repeats it with
``--resume`` each time it has ended; the outcome is right when everything is equal then, nothing is
left behind, and no status said otherwise. The same seed takes the same decisions; the moments are
never quite the same.
"""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random

from tests.support.clock import wait_for
from tests.support.commands import Finished, PgcopydbBackground, Running
from tests.support.equality import differences
from tests.support.litter import litter, processes
from tests.support.servers import Database, SourceTarget

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

_PHASES_SHARE = 0.4
_SPARED_SHARE = 0.5
"""Of the phases, so that later ones are hit too."""
_SNAPSHOT_GONE = 3
_IN_RECOVERY = ("starting up", "not yet accepting", "recovery mode", "shutting down")

_SESSIONS = """
select pid from pg_stat_activity
 where datname = current_database() and application_name like 'pgcopydb%'
"""


class CloneKillRun:
    """One base copy with ``kills`` kills in it.

    It is made by one command or ``in_phases``; None leaves that to chance.
    """

    def __init__(
        self,
        pair: SourceTarget,
        directory: Path,
        background: PgcopydbBackground,
        seed: int,
        *,
        kills: int,
        in_phases: bool | None = None,
    ) -> None:
        self._pair = pair
        self._directory = directory
        self._background = background
        self._random = Random(seed)
        self._kills = kills
        self._in_phases = self._random.random() < _PHASES_SHARE if in_phases is None else in_phases
        self._longest = 2.0
        self._spared: set[int] = set()
        self.faults: Counter[str] = Counter()
        self.resumed = 0
        self.survived = 0
        self.recovered: list[float] = []
        """Seconds from a kill until the command that resumed it, undisturbed, was through."""

    def run(self) -> None:
        """Copy, kill and resume until everything is there; judge the outcome."""
        random = self._random
        options = ["--table-jobs", str(random.randint(1, 4))]
        options += random.choice([[], ["--split-tables-larger-than", "2MB"]])
        # Phases have one moment in common only while somebody holds it.
        held = self._in_phases or random.random() < 0.6
        own = litter(self._pair.source)
        with ExitStack() as stack:
            if held:
                stack.enter_context(self._snapshot())
            commands = PHASES if self._in_phases else (("clone",),)
            for words in commands:
                of_rows = words[-1] in {"clone", "table-data"}
                self._finish(words, options if of_rows else [], held=held)
        assert differences(self._pair.source, self._pair.target) == []
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
        killed_at: float | None = None
        for _ in range(self._kills + 8):
            with self._background(*arguments, *more) as running:
                way = None
                spared = self._in_phases and self._random.random() < _SPARED_SHARE
                while not spared and running.is_running and self.faults.total() < self._kills:
                    way = self._disturb(running) or way
                ended = self._end(running, way)
            if ended.status == 0:
                if killed_at is not None and way is None:
                    self.recovered.append(time.monotonic() - killed_at)
                return
            killed_at = time.monotonic() if way else killed_at
            self.resumed += 1
            more = self._go_on(ended, way, more, held=held)
        raise AssertionError(f"{' '.join(words)} did not come to its end")

    def _end(self, running: Running, way: str | None) -> Finished:
        if way in {"supervisor", "whole group"}:
            assert wait_for(lambda: not running.is_running, seconds=15)
        finished = running.wait(120)
        assert finished.status == 0 or way is not None or self.resumed, finished.stderr
        assert "Traceback" not in finished.stderr, finished.stderr
        assert wait_for(lambda: not processes(running.pid), seconds=15), processes(running.pid)
        if way is not None and finished.status == 0:
            self.survived += 1
        return finished

    def _go_on(self, ended: Finished, way: str | None, more: list[str], *, held: bool) -> list[str]:
        """Return the options with which the command is repeated after it ended so."""
        if "its snapshot is gone" in ended.stderr:
            assert not held, ended.stderr
            assert ended.status == _SNAPSHOT_GONE, ended.stderr
            return self._random.choice([["--resume", "--not-consistent"], ["--restart"]])
        if way is None and not any(text in ended.stderr for text in _IN_RECOVERY):
            assert "--resume" in ended.stderr, f"{more} {ended.status}: {ended.stderr}"
        return ["--resume", *(option for option in more if option == "--not-consistent")]

    # -- what is killed ----------------------------------------------------------------------------

    def _disturb(self, running: Running) -> str | None:
        """Kill something at a random moment; return what, None when it had ended by then."""
        moment = time.monotonic() + self._random.uniform(0, self._longest)
        ways: dict[str, Callable[[Running], bool]] = {
            "supervisor": _kill_supervisor,
            "whole group": _kill_group,
            "a process": self._kill_child,
            "target session": lambda _: self._terminate(self._pair.target),
            "source session": lambda _: self._terminate(self._pair.source),
            "target server": lambda _: self._restart_target(),
        }
        way = self._random.choice(list(ways))
        wait_for(lambda: not running.is_running, seconds=max(moment - time.monotonic(), 0.01))
        if not running.is_running or not ways[way](running):
            return None
        self.faults[way] += 1
        return way

    def _kill_child(self, running: Running) -> bool:
        """Kill one of the processes that the command has started: a lane, pg_dump, pg_restore."""
        lines = (re.match(r"process (\d+)", line) for line in processes(running.pid))
        found = [int(line[1]) for line in lines if line is not None]
        children = [pid for pid in found if pid != running.pid]
        if not children:
            return False
        with suppress(ProcessLookupError):
            os.kill(self._random.choice(children), signal.SIGKILL)
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
