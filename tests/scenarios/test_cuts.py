"""A short sample of the campaign of network faults, with seeds that stay the same."""

import socket
from contextlib import closing

import psycopg
import pytest

from pgcopydb.demo.cluster import Cluster
from tests.scenarios.migration import Migration
from tests.support.disturbed import run_and_report
from tests.support.follow_cuts import FollowCutRun
from tests.support.networks import proxied
from tests.support.proxy import Proxy
from tests.support.workload import APPLICATION


@pytest.mark.parametrize("source_target", [(16, 18, APPLICATION)], indirect=True)
@pytest.mark.parametrize("seed", [3])
def test_cut_off_at_random_it_loses_and_doubles_nothing(migration: Migration, seed: int) -> None:
    with proxied(migration) as through_proxies:
        run_and_report(FollowCutRun(through_proxies, seed, faults=4), seed)


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
