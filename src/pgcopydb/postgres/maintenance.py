"""Sessions that build indexes: what the target's settings let each of them use."""

from typing import Any, Final

from psycopg import Connection

from pgcopydb.rules.maintenance import ServerResources, share

Session = Connection[tuple[Any, ...]]

_RESOURCES: Final = (
    "select pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')),"
    " pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers')),"
    " pg_catalog.current_setting('max_parallel_maintenance_workers')::int4,"
    " pg_catalog.current_setting('max_parallel_workers')::int4,"
    " pg_catalog.current_setting('max_worker_processes')::int4"
)

_TAKE: Final = (
    "select pg_catalog.set_config('maintenance_work_mem', %s, false),"
    " pg_catalog.set_config('max_parallel_maintenance_workers', %s, false)"
)


def server_resources(session: Session) -> ServerResources:
    """Return the settings that bound what building may use."""
    row = session.execute(_RESOURCES).fetchone()
    assert row is not None
    memory, buffers, maintenance, parallel, processes = row
    return ServerResources(
        maintenance_work_mem=memory,
        shared_buffers=buffers,
        max_parallel_maintenance_workers=maintenance,
        max_parallel_workers=parallel,
        max_worker_processes=processes,
    )


def take_share(session: Session, *, sessions: int) -> None:
    """Let ``session`` use its share of the server, one of ``sessions`` that build at once."""
    mine = share(server_resources(session), sessions=sessions)
    session.execute(_TAKE, (f"{mine.memory // 1024}kB", str(mine.workers)))
