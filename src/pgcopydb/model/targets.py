"""What apply must know of a table on the target, to write a change of the source to it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column of a target table; ``exact`` says that ``=`` finds exactly the bytes looked for.

    For numeric, float, interval, jsonb, citext and the like two values can be equal and print
    differently, and some types have no equality at all: those are compared by their text.
    """

    name: str
    type: str
    generated: bool
    identity_always: bool
    exact: bool


@dataclass(frozen=True, slots=True)
class TargetTable:
    """A table of the target; ``columns`` by name."""

    schema: str
    name: str
    partitioned: bool
    columns: dict[str, TargetColumn] = field(hash=False)
    key: tuple[str, ...] = ()
    """The columns of its primary key, if it has one."""
