"""What a lane is told: apart from the lane itself, so that who starts one needs no driver for it.

asyncpg and asyncio cost 0.15 s of CPU to import, of a small copy's 1.3 s.
"""

from msgspec import Struct

from pgcopydb.postgres.resolve import ResolvedServer


class LaneRoute(Struct, frozen=True, kw_only=True):
    """Where a lane reads and writes. ``snapshot`` is imported; markers carry ``run_id`` and
    ``marker_snapshot``, the id that names the view through all its exports.

    ``locked`` are tables, by schema and name, that the lane locks at its beginning: later it could
    come to stand behind a statement that waits for the holder of the copy's table locks.

    ``silenced`` keeps triggers and foreign keys that the target has already from firing; its
    tables are then not truncated, which a foreign key forbids, and are known to be empty.

    ``raw`` says that neither side knows an encoding, so that bytes pass as they are.
    """

    source: ResolvedServer
    target: ResolvedServer
    snapshot: str
    run_id: str
    marker_snapshot: str
    locked: tuple[tuple[str, str], ...] = ()
    silenced: bool = False
    raw: bool = False
