"""In which properties two definitions of the same object differ, where that means anything."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pgcopydb.model.comparison import ValueDifference
from pgcopydb.model.definition import Definition
from pgcopydb.model.options import CompareOptions
from pgcopydb.rules.privileges import privileges_text

COLUMN_ORDER = "order of columns"

_PRINTED = frozenset({"definition", "using", "with check", "default"})
"""Properties that are SQL as the server prints it."""

_NOTED = frozenset({("extension", "version"), ("database", "encoding")})
"""What may well be otherwise on a newer server: told, but no difference."""

_TOKEN = re.compile(
    r"""(?P<literal>'(?:[^']|'')*')"""
    r"""|(?P<qualifier>[A-Za-z_\u0080-\U0010ffff][\w$]*|"(?:[^"]|"")*")\.(?=[\w"*])""",
)


@dataclass(frozen=True, slots=True)
class Definitions:
    """How definitions are compared.

    ``schemas`` are those of either side as they are printed. ``versions_differ`` allows for what
    servers of two major versions print differently.
    """

    options: CompareOptions
    schemas: frozenset[str] = frozenset()
    versions_differ: bool = False

    def differences(self, here: Definition, there: Definition) -> Iterator[ValueDifference]:
        """Yield the properties that are not the same."""
        ours, theirs = self._properties(here), self._properties(there)
        for name in ours | theirs:
            one, other = ours.get(name), theirs.get(name)
            if one != other and not self._means_the_same(name, one, other):
                yield ValueDifference(
                    name=name, source=self._shown(name, one), target=self._shown(name, other)
                )

    def notes(self, here: Definition, there: Definition) -> Iterator[str]:
        """Yield in words what is not the same and may well be so."""
        for kind, name in _NOTED:
            one, other = here.properties.get(name), there.properties.get(name)
            if here.kind == kind and one != other:
                yield f"{kind} {here.name}: {name} {one} on the source, {other} on the target"

    def _properties(self, definition: Definition) -> dict[str, str]:
        found = {"kind": definition.kind} | {
            name: text
            for name, text in definition.properties.items()
            if not self._is_left_out(definition.kind, name)
        }
        if definition.privileges is not None and not self.options.no_acl:
            granted = privileges_text(definition.privileges)
            if granted:
                found["privileges"] = granted
        return found

    def _is_left_out(self, kind: str, name: str) -> bool:
        options = self.options
        match name:
            case "owner":
                return options.no_owner
            case "comment":
                return options.no_comments or (options.skip_ext_comments and kind == "extension")
            case "tablespace":
                return options.no_tablespaces
            case "collation":
                return options.skip_collations
            case "settings" | "settings of roles":
                return options.skip_db_properties
            case _:
                return (kind, name) in _NOTED

    def _means_the_same(self, name: str, one: str | None, other: str | None) -> bool:
        if name == COLUMN_ORDER:
            # A column that is missing is told once, of the column.
            return sorted((one or "").split(", ")) != sorted((other or "").split(", "))
        if one is None or other is None:
            return False
        if name in _PRINTED and self.versions_differ:
            return self._unqualified(one) == self._unqualified(other)
        return False

    def _shown(self, name: str, text: str | None) -> str | None:
        """Return a property without what the versions print differently anyway."""
        if text is None or name not in _PRINTED or not self.versions_differ:
            return text
        return self._unqualified(text)

    def _unqualified(self, text: str) -> str:
        """Return SQL without the names of tables before columns.

        From 16 on a view of a single table is printed without them.
        """

        def shortened(token: re.Match[str]) -> str:
            qualifier = token.group("qualifier")
            return token.group() if qualifier is None or qualifier in self.schemas else ""

        return _TOKEN.sub(shortened, text)


def is_left_out(options: CompareOptions) -> Callable[[str], bool]:
    """Return what tells whether a kind of objects is not compared at all."""
    kinds: Mapping[str, bool] = {
        "extensions": options.skip_extensions,
        "collations": options.skip_collations,
        "large_objects": options.skip_large_objects,
        "default_privileges": options.no_acl,
    }
    return lambda kind: kinds.get(kind, False)
