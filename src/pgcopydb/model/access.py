"""How a child program reaches a server without a secret on its command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgcopydb.model.endpoint import Side


def without_libpq(environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``environ`` for a child program: libpq's and this program's own variables left out.

    They are defaults for both sides, and may hold the other side's password. Messages are wanted
    in one language, because they are searched for what went wrong.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class ChildAccess:
    """What pg_dump or pg_restore needs to connect to one side.

    ``conninfo`` is safe to show in a process list: it names a service and nothing else. The
    service's parameters, passwords among them, stand in a private file that ``environment`` names.
    ``environment`` is the child's whole environment, not an addition to this process's own.
    """

    side: Side
    conninfo: str
    environment: Mapping[str, str] = field(repr=False)
