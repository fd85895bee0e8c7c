"""What a process of lanes runs. Both processes import this, only that one what lanes need.

asyncio and asyncpg cost start-up time in the process that starts it, and what that has imported for
itself would cost time here.
"""

from pgcopydb.clone.tables import LaneWork


def run_lanes(work: LaneWork) -> None:
    """Copy parts until none is left to claim; the function of a process of lanes.

    Raises the side's error, after noting it in the jobs that it ended.
    """
    import asyncio  # noqa: PLC0415

    from pgcopydb.clone import lane  # noqa: PLC0415

    asyncio.run(lane.run_lanes(work))
