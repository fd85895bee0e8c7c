"""How a child program reaches a server without a secret on its command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgcopydb.model.endpoint import Side


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
