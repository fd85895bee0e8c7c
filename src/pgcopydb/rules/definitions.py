"""In which properties two definitions of the same object differ, where that means anything."""

import re
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from pgcopydb.model.comparison import ValueDifference
from pgcopydb.model.definition import Definition
from pgcopydb.model.options import CompareOptions
from pgcopydb.rules.language_tag import language_tag
from pgcopydb.rules.privileges import privileges_text
from pgcopydb.rules.reprinted import as_read_again

COLUMN_ORDER = "order of columns"

_PRINTED = frozenset({"definition", "using", "with check", "default"})
"""Properties that are SQL as the server prints it."""

_NOTED = frozenset(
    {
        ("extension", "version"),
        ("database", "encoding"),
        ("database", "owner"),
        ("database", "tablespace"),
    }
)
"""What may well be otherwise on another server: told, but no difference."""

_VERBATIM = frozenset({"comment", "labels", "label", "options", "settings", "settings of roles"})
"""Properties that are a person's text, and no SQL of the server's."""

_NAME = r"""[A-Za-z_\u0080-\U0010ffff][\w$]*|"(?:[^"]|"")*\""""

_LITERAL = r"(?P<literal>'(?:[^']|'')*')"

_TOKEN = re.compile(
    rf"""{_LITERAL}|(?P<qualifier>{_NAME})\.(?=[\w"*])"""
    r"""|"(?P<plain>[a-z_][a-z0-9_$]*)"|(?P<quoted>"(?:[^"]|"")*")""",
)

_ALIASED = re.compile(
    rf"{_LITERAL}|(?P<aliased>\b(?:UPDATE|INTO|DELETE FROM)(?: ONLY)?(?:(?: |\.)(?:{_NAME}))+) AS "
)


class Definitions(Struct, frozen=True):
    """How definitions are compared.

    ``schemas`` are those of either side, as they are printed, whose names are no table's too: a
    qualifier that is one of them is no table. ``versions_differ`` allows for what
    servers of two major versions print differently; ``unknown_privileges`` are those that only the
    newer one knows, which ``GRANT ALL`` gives there.
    """

    options: CompareOptions
    schemas: frozenset[str] = frozenset()
    versions_differ: bool = False
    unknown_privileges: frozenset[str] = frozenset()

    def differences(self, here: Definition, there: Definition) -> Iterator[ValueDifference]:
        """Yield the properties that are not the same."""
        ours, theirs = self._properties(here), self._properties(there)
        for name in ours | theirs:
            one, other = ours.get(name), theirs.get(name)
            if one == other or self._means_the_same(name, one, other):
                continue
            if not _is_order_of_inherited(here, name):
                yield ValueDifference(
                    name=name, source=self._shown(name, one), target=self._shown(name, other)
                )

    def notes(self, here: Definition, there: Definition) -> Iterator[str]:
        """Yield in words what is not the same and may well be so."""
        for kind, name in sorted(_NOTED):
            one, other = here.properties.get(name), there.properties.get(name)
            if here.kind == kind and one != other and not self._is_left_out(kind, name):
                yield _note(here, name, one, other)
        one, other = (side.properties.get(COLUMN_ORDER) for side in (here, there))
        if (
            one != other
            and _is_order_of_inherited(here, COLUMN_ORDER)
            and not self._means_the_same(COLUMN_ORDER, one, other)
        ):
            yield _note(here, COLUMN_ORDER, one, other)

    def _properties(self, definition: Definition) -> dict[str, str]:
        found = {"kind": definition.kind} | {
            name: text
            for name, text in definition.properties.items()
            if (definition.kind, name) not in _NOTED
            and not self._is_left_out(definition.kind, name)
        }
        if definition.kind == "collation" and found.get("provider") == "icu":
            found["locale"] = language_tag(found.get("locale", ""))
        if definition.privileges is not None and not self.options.no_acl:
            granted = privileges_text(definition.privileges, without=self.unknown_privileges)
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
            case "settings" | "settings of roles" | "connection limit":
                return options.skip_db_properties
            case _:
                return False

    def _means_the_same(self, name: str, one: str | None, other: str | None) -> bool:
        if name == COLUMN_ORDER:
            # A column that is missing is told once, of the column.
            one, other = (self._comparable(name, text or "") for text in (one, other))
            return one == other or sorted(one.split(", ")) != sorted(other.split(", "))
        if one is None or other is None:
            return False
        return self._comparable(name, one) == self._comparable(name, other)

    def _shown(self, name: str, text: str | None) -> str | None:
        """Return a property without what the versions print differently anyway."""
        return None if text is None else self._comparable(name, text)

    def _comparable(self, name: str, text: str) -> str:
        """Return a property as every version would print it that has read what it prints.

        Each puts other names in quotes, for each has other keywords. From 16 on a view of a single
        table is printed without that table's name before the columns, and from 18 on a rule without
        AS before an alias.
        """
        if name in _PRINTED:
            text = as_read_again(text)
        if not self.versions_differ or name in _VERBATIM:
            return text

        def shortened(token: re.Match[str]) -> str:
            if token.group("plain") is not None:
                return token.group("plain")
            qualifier = token.group("qualifier")
            if qualifier is None or name not in _PRINTED:
                return token.group()
            return f"{_without_quotes(qualifier)}." if qualifier in self.schemas else ""

        printed = _ALIASED.sub(_without_as, text) if name in _PRINTED else text
        return _TOKEN.sub(shortened, printed)


def _without_quotes(name: str) -> str:
    plain = _TOKEN.fullmatch(name)
    return name if plain is None or plain.group("plain") is None else plain.group("plain")


def _without_as(aliased: re.Match[str]) -> str:
    return aliased.group("literal") or aliased.group("aliased") + " "


def _is_order_of_inherited(here: Definition, name: str) -> bool:
    """Tell whether ``name`` is what no dump keeps: the order of columns of a table that inherits.

    CREATE TABLE puts the columns of parents first, however they were added to the original. A
    partition is made by itself and attached.
    """
    return (
        name == COLUMN_ORDER
        and "parents" in here.properties
        and "partition bound" not in here.properties
    )


def _note(here: Definition, name: str, one: str | None, other: str | None) -> str:
    return f"{here.kind} {here.name}: {name} {one} on the source, {other} on the target"


def is_left_out(options: CompareOptions) -> Callable[[str], bool]:
    """Return what tells whether a kind of objects is not compared at all."""
    kinds: Mapping[str, bool] = {
        "extensions": options.skip_extensions,
        "collations": options.skip_collations,
        "large_objects": options.skip_large_objects,
        "default_privileges": options.no_acl,
    }
    return lambda kind: kinds.get(kind, False)
