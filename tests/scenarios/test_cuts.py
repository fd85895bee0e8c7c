"""A short sample of the campaign of network faults, with seeds that stay the same."""

import socket
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from pgcopydb.demo.cluster import Cluster
from tests.scenarios.migration import Migration
from tests.support.clock import wait_for
from tests.support.disturbed import run_and_report
from tests.support.equality import differing_tables
from tests.support.follow_cuts import FollowCutRun
from tests.support.memory import MemoryWatch, peak_memory
from tests.support.networks import proxied
from tests.support.proxy import Proxy
from tests.support.servers import Database
from tests.support.workload import APPLICATION


@pytest.mark.parametrize("source_target", [(16, 18, APPLICATION)], indirect=True)
@pytest.mark.parametrize("seed", [3])
def test_cut_off_at_random_it_loses_and_doubles_nothing(migration: Migration, seed: int) -> None:
    with proxied(migration) as through_proxies:
        run_and_report(FollowCutRun(through_proxies, seed, faults=4), seed)


WIDE = """
create table wide (id integer primary key, pad text);
insert into wide select g, repeat(md5(g::text), 300) from generate_series(1, 15000) g;
"""
"""145 MB as COPY prints it."""

_MOST_MEMORY = 128 << 20


@pytest.mark.parametrize("source_target", [(16, 18, WIDE)], indirect=True)
def test_a_target_behind_a_slow_network_fills_no_memory(migration: Migration) -> None:
    """64 kB/s to the target, and a source that could send everything at once.

    First of the copy, then of one transaction of the same size.
    """
    pair = migration.pair
    with proxied(migration) as through_proxies:
        slow = through_proxies.proxies["target"]
        with through_proxies.start("clone", "--follow") as running:
            assert wait_for(lambda: bool(_copying(pair.target)), seconds=60), running.stderr
            slow.bytes_a_second = 64 << 10
            time.sleep(5)
            copying = peak_memory(running.pid)
            slow.bytes_a_second = None
            through_proxies.wait_until_applying(running)
            slow.bytes_a_second = 64 << 10
            pair.source.execute("update wide set pad = pad || id")
            stored = through_proxies.directory / "cdc"
            assert wait_for(lambda: _size(stored) > 100 << 20, seconds=60), running.stderr
            time.sleep(5)
            applying = peak_memory(running.pid)
            slow.bytes_a_second = None
            through_proxies.sentinel("set", "endpos", "--current")
            finished = running.wait(120)
    assert finished.status == 0, finished.stderr
    assert max(copying) < _MOST_MEMORY, copying
    assert max(applying) < _MOST_MEMORY, applying
    assert differing_tables(pair.source, pair.target) == []


_SMALL = "create table small (id integer primary key, pad text)"


@pytest.mark.parametrize("source_target", [(16, 18, _SMALL)], indirect=True)
def test_servers_that_are_far_away_are_followed_and_fill_no_memory(migration: Migration) -> None:
    """200 ms for each piece in both directions: a round trip for each commit would take minutes."""
    pair = migration.pair
    with (
        proxied(migration) as through_proxies,
        through_proxies.start("clone", "--follow") as running,
    ):
        through_proxies.wait_until_applying(running)
        for proxy in through_proxies.proxies.values():
            proxy.latency = 0.2
        with MemoryWatch(running.pid) as watch:
            began = time.monotonic()
            pair.source.execute(_MANY_COMMITS)
            pair.source.execute("update small set pad = repeat(pad, 4)")
            assert wait_for(lambda: bool(pair.target.rows(_ALL_THERE)), seconds=90), running.stderr
            seconds = time.monotonic() - began
        for proxy in through_proxies.proxies.values():
            proxy.heal()
        through_proxies.sentinel("set", "endpos", "--current")
        finished = running.wait(60)
    assert finished.status == 0, finished.stderr
    assert "connecting again" not in finished.stderr
    assert seconds < _COMMITS * 0.4 / 10
    assert 0 < watch.highest < _MOST_MEMORY
    assert differing_tables(pair.source, pair.target) == []


_COMMITS = 2000
_ALL_THERE = f"""
select from small having count(*) filter (where length(pad) = 400) = {_COMMITS}
"""
_MANY_COMMITS = f"""
do $$ begin
    for n in 1..{_COMMITS} loop insert into small values (n, repeat('x', 100)); commit; end loop;
end $$
"""


def _copying(target: Database) -> list[tuple[int, ...]]:
    return target.rows("select 1 from pg_stat_progress_copy where bytes_processed > 0")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_the_proxy_does_what_it_says(pg16: Cluster) -> None:
    with Proxy(pg16.port) as proxy:
        conninfo = proxy.through(pg16.conninfo())
        proxy.slice_bytes = 1
        with closing(psycopg.connect(conninfo, autocommit=True)) as connection:
            assert connection.execute("select repeat('x', 3000)").fetchone() == ("x" * 3000,)
            proxy.heal()
            proxy.cut_before(b"C", 2)
            connection.execute("select 1")
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select 2")
        assert proxy.cuts == 1
        with closing(psycopg.connect(conninfo, autocommit=True)) as connection:
            proxy.reset()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select 1")
        proxy.refuse(60)
        with pytest.raises((psycopg.OperationalError, socket.error)):
            psycopg.connect(conninfo)
        proxy.heal()
        psycopg.connect(conninfo).close()
