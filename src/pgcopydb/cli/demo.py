"""``pgcopydb demo``."""

from pgcopydb.cli.command import command
from pgcopydb.cli.options import flag, value
from pgcopydb.cli.types import COUNT, SECONDS

_SCALE = value(
    "--scale",
    kind=COUNT,
    default="20",
    help="Size of the database, as pgbench counts it: about 17 MB each.",
)
_RATE = value(
    "--rate", kind=COUNT, default="200", help="Transactions a second that clients make at most."
)
_FOLLOW_SECONDS = value(
    "--seconds",
    "follow_seconds",
    kind=SECONDS,
    default="12",
    help="How long to follow closely before the cut-over.",
)
_KEEP = flag("--keep", help="Keep both servers until Enter is pressed.")


@command("demo", _SCALE, _RATE, _FOLLOW_SECONDS, _KEEP)
def demo(*, scale: int, rate: int, follow_seconds: float, keep: bool) -> None:
    """Watch a live migration on servers of its own.

    Starts two PostgreSQL servers, moves a database from one to the other while clients keep
    writing to it, and checks that nothing was lost. Needs the extra pgcopydb[demo].
    """
    from pgcopydb.demo.run import DemoOptions
    from pgcopydb.demo.run import demo as show

    show(DemoOptions(scale=scale, rate=rate, follow_seconds=follow_seconds, keep=keep))
