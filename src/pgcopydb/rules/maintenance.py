"""How much memory and how many parallel workers each session gets that builds indexes.

The server's settings are what its owner allows one maintenance command. A copy runs several at
once, as many as --index-jobs says, and they share what the server has:

* **Memory.** An index is built fastest when it is sorted in memory, and during a copy the target's
  cache serves nobody else. All sessions together take a quarter of ``shared_buffers``, each 2 GB at
  most, or ``maintenance_work_mem`` where that is more. A parallel build does not multiply it: the
  server divides it among the workers of one command, and starts none that would get less than 32
  MB.
* **Workers.** ``max_parallel_maintenance_workers`` bounds those of one command, the smaller of
  ``max_parallel_workers`` and ``max_worker_processes`` those of all. Without a share the first
  indexes would take all workers and the others be built by one process each, in the same time. An
  owner who wants none, or one who allows few, is obeyed.
"""

from typing import Final

from msgspec import Struct

_SHARE_OF_CACHE: Final = 4
_MOST_MEMORY: Final = 2 << 30
_UNIT: Final = 1024
"""The server keeps maintenance_work_mem in kilobytes."""


class ServerResources(Struct, frozen=True, kw_only=True):
    """The settings of a target that bound what building may use; memory in bytes."""

    maintenance_work_mem: int
    shared_buffers: int
    max_parallel_maintenance_workers: int
    max_parallel_workers: int
    max_worker_processes: int


class SessionShare(Struct, frozen=True):
    """What one of several sessions sets for itself; ``memory`` in bytes, whole kilobytes."""

    memory: int
    workers: int


def share(server: ServerResources, *, sessions: int) -> SessionShare:
    """Return what each of ``sessions`` (at least one) that build at once may use of ``server``."""
    of_cache = server.shared_buffers // (_SHARE_OF_CACHE * sessions)
    memory = max(server.maintenance_work_mem, min(of_cache, _MOST_MEMORY))
    at_once = min(server.max_parallel_workers, server.max_worker_processes)
    return SessionShare(
        memory=memory // _UNIT * _UNIT,
        workers=min(server.max_parallel_maintenance_workers, at_once // sessions),
    )
