"""What each of several sessions that build indexes may use of the target."""

import pytest
from msgspec.structs import replace

from pgcopydb.rules.maintenance import ServerResources, SessionShare, share

MB = 1 << 20

DEFAULTS = ServerResources(
    maintenance_work_mem=64 * MB,
    shared_buffers=128 * MB,
    max_parallel_maintenance_workers=2,
    max_parallel_workers=8,
    max_worker_processes=8,
)


def test_a_server_left_as_it_came_is_used_as_its_settings_say() -> None:
    assert share(DEFAULTS, sessions=4) == SessionShare(64 * MB, workers=2)


@pytest.mark.parametrize(
    ("buffers", "sessions", "memory"),
    [
        (1024 * MB, 2, 128 * MB),
        (1024 * MB, 4, 64 * MB),
        (16 * 1024 * MB, 4, 1024 * MB),
        (256 * 1024 * MB, 1, 2048 * MB),
    ],
)
def test_a_quarter_of_the_cache_is_shared_among_the_sessions(
    buffers: int, sessions: int, memory: int
) -> None:
    server = replace(DEFAULTS, shared_buffers=buffers)
    assert share(server, sessions=sessions).memory == memory


def test_what_the_owner_gives_one_command_is_never_lowered() -> None:
    server = replace(DEFAULTS, maintenance_work_mem=512 * MB)
    assert share(server, sessions=16).memory == 512 * MB


def test_memory_is_whole_kilobytes() -> None:
    server = replace(DEFAULTS, shared_buffers=1000 * MB)
    assert share(server, sessions=3).memory % 1024 == 0


@pytest.mark.parametrize(
    ("sessions", "workers"), [(1, 6), (2, 4), (3, 2), (4, 2), (8, 1), (9, 0), (32, 0)]
)
def test_sessions_share_the_parallel_workers(sessions: int, workers: int) -> None:
    server = replace(DEFAULTS, max_parallel_maintenance_workers=6)
    assert share(server, sessions=sessions).workers == workers


def test_worker_processes_bound_parallel_workers() -> None:
    server = replace(DEFAULTS, max_worker_processes=2)
    assert share(server, sessions=2).workers == 1


def test_an_owner_who_wants_no_parallel_building_is_obeyed() -> None:
    server = replace(DEFAULTS, max_parallel_maintenance_workers=0)
    assert share(server, sessions=1).workers == 0
