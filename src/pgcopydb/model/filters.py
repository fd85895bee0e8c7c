"""What of a database is taken and what is left out, decided by names.

One :class:`Filters` decides in every command: in the copy, in the stream, in lists and comparisons.
The rules are a person's (``rules.filters`` reads them); what depends on what they leave out is
known to the source's catalogue only, and ``rules.selection`` adds that as names.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Final

from msgspec import Struct


class Section(StrEnum):
    """The sections of a file of filters."""

    INCLUDE_SCHEMA = "include-only-schema"
    EXCLUDE_SCHEMA = "exclude-schema"
    INCLUDE_TABLE = "include-only-table"
    EXCLUDE_TABLE = "exclude-table"
    EXCLUDE_DATA = "exclude-table-data"
    EXCLUDE_INDEX = "exclude-index"
    INCLUDE_EXTENSION = "include-only-extension"
    EXCLUDE_EXTENSION = "exclude-extension"
    EXCLUDE_EVENT_TRIGGER = "exclude-event-trigger"


QUALIFIED: Final = frozenset(
    {Section.INCLUDE_TABLE, Section.EXCLUDE_TABLE, Section.EXCLUDE_DATA, Section.EXCLUDE_INDEX}
)
"""The sections whose names have two parts, schema and name."""


class Pattern(Struct, frozen=True):
    """A part of a name: the name itself, unquoted, or an expression that is searched in it."""

    text: str
    is_expression: bool = False

    def matches(self, name: str) -> bool:
        """Tell whether ``name`` is meant."""
        if self.is_expression:
            return compiled(self.text).search(name) is not None
        return self.text == name


@lru_cache(maxsize=1000)
def compiled(text: str) -> re.Pattern[str]:
    """Return the expression; raises what ``re`` raises for one that is none."""
    return re.compile(text)


class Rule(Struct, frozen=True):
    """One line of a file. ``schema`` is None in the sections whose names have one part."""

    section: Section
    line: int
    schema: Pattern | None
    name: Pattern

    @property
    def is_exact(self) -> bool:
        """Whether it is a plain name, which must be there."""
        return not self.name.is_expression and not (self.schema and self.schema.is_expression)

    def covers(self, schema: str | None, name: str) -> bool:
        """Tell whether the object of this name is meant; ``schema`` is None where it has none."""
        if self.schema is not None and (schema is None or not self.schema.matches(schema)):
            return False
        return self.name.matches(name)

    def __str__(self) -> str:
        parts = [part for part in (self.schema, self.name) if part is not None]
        return ".".join(written(part) for part in parts)


class _Names:
    """The rules of one section: plain names by look-up, expressions one after the other."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        listed = list(rules)
        self._exact = {
            (rule.schema.text if rule.schema else None, rule.name.text)
            for rule in listed
            if rule.is_exact
        }
        self._expressions = [rule for rule in listed if not rule.is_exact]

    def cover(self, schema: str | None, name: str) -> bool:
        return (schema, name) in self._exact or any(
            rule.covers(schema, name) for rule in self._expressions
        )


@dataclass(frozen=True)
class Filters:
    """What is taken and what is left out, by name.

    ``left_out`` are relations that cannot be without what the rules leave out, ``taken_in`` those
    that are taken though the rules do not name them, and ``needed_schemas`` the schemas that are
    made only for what others need: all that ``rules.selection`` found on the source.
    """

    rules: tuple[Rule, ...] = ()
    origin: str = ""
    """Where the rules were read, for messages."""
    left_out: tuple[tuple[str, str], ...] = ()
    taken_in: tuple[tuple[str, str], ...] = ()
    needed_schemas: tuple[str, ...] = ()
    without_data: tuple[tuple[str, str], ...] = ()
    """Partitions of a table whose rows the rules leave out."""
    is_resolved: bool = False
    """Whether the source's catalogue has added what depends on what."""

    @property
    def selects_all(self) -> bool:
        """Whether nothing at all is left out."""
        return not self.rules

    def says_the_same(self, other: "Filters") -> bool:
        """Tell whether both have the same rules, wherever they stand in their files."""
        return self._said == other._said

    def selects_schema(self, schema: str) -> bool:
        """Tell whether the schema and what lives in it is taken."""
        return schema in self._needed_schemas or self.selects_schema_by_rule(schema)

    def selects_schema_by_rule(self, schema: str) -> bool:
        """Tell whether the rules take the schema, whatever needs it."""
        if Section.INCLUDE_SCHEMA in self._names:
            return self.covers(Section.INCLUDE_SCHEMA, None, schema)
        return not self.covers(Section.EXCLUDE_SCHEMA, None, schema)

    def selects_table(self, schema: str, name: str) -> bool:
        """Tell whether a table, view or other relation is taken: copied, followed, compared."""
        if self.selects_all:  # asked some ten times of each table
            return True
        if (schema, name) in self._left_out:
            return False
        return (schema, name) in self._taken_in or self.selects_table_by_rule(schema, name)

    def selects_table_by_rule(self, schema: str, name: str) -> bool:
        """Tell whether the rules take a table, whatever it depends on."""
        if Section.INCLUDE_TABLE in self._names:
            return self.covers(Section.INCLUDE_TABLE, schema, name)
        return self.selects_schema_by_rule(schema) and not self.covers(
            Section.EXCLUDE_TABLE, schema, name
        )

    def copies_data(self, schema: str, name: str) -> bool:
        """Tell whether the rows of a table, and the changes to them, are taken."""
        return self.selects_all or (
            self.selects_table(schema, name)
            and (schema, name) not in self._without_data
            and not self.covers(Section.EXCLUDE_DATA, schema, name)
        )

    def selects_index(self, schema: str, name: str) -> bool:
        """Tell whether an index is taken, given that its table is."""
        if (schema, name) in self._left_out:
            return False
        if (schema, name) in self._taken_in:
            return True
        return not self.covers(Section.EXCLUDE_INDEX, schema, name)

    def selects_extension(self, name: str) -> bool:
        """Tell whether an extension is made."""
        if Section.INCLUDE_EXTENSION in self._names:
            return self.covers(Section.INCLUDE_EXTENSION, None, name)
        return not self.covers(Section.EXCLUDE_EXTENSION, None, name)

    def selects_event_trigger(self, name: str) -> bool:
        """Tell whether an event trigger is made."""
        return not self.covers(Section.EXCLUDE_EVENT_TRIGGER, None, name)

    def covers(self, section: Section, schema: str | None, name: str) -> bool:
        """Tell whether a line of ``section`` means the object of this name."""
        names = self._names.get(section)
        return names is not None and names.cover(schema, name)

    @cached_property
    def _names(self) -> dict[Section, _Names]:
        sections = {rule.section for rule in self.rules}
        return {
            section: _Names(rule for rule in self.rules if rule.section is section)
            for section in sections
        }

    @cached_property
    def _left_out(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.left_out)

    @cached_property
    def _taken_in(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.taken_in)

    @cached_property
    def _without_data(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.without_data)

    @cached_property
    def _said(self) -> frozenset[tuple[Section, Pattern | None, Pattern]]:
        return frozenset((rule.section, rule.schema, rule.name) for rule in self.rules)

    @cached_property
    def _needed_schemas(self) -> frozenset[str]:
        return frozenset(self.needed_schemas)


EVERYTHING: Final = Filters()
"""No file: all is taken."""


_UNQUOTED: Final = re.compile(r"[a-z_][a-z0-9_$]*")


def written_name(name: str) -> str:
    """Return ``name`` as it is written in a file of filters: in quotes only where it must be."""
    if _UNQUOTED.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'


def written(part: Pattern) -> str:
    """Return a part of a name as it is written in a file of filters."""
    if part.is_expression:
        return "~/" + part.text.replace("/", "\\/") + "/"
    return written_name(part.text)
