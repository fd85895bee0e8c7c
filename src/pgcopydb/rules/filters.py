"""What of a database is taken and what is left out: the user's file becomes decisions.

::

    [exclude-schema]              # one of nine sections; a comment starts with # or ;
    scratch
    ~/^tmp_/

    [exclude-table]
    public.audit_log
    "Odd Schema"."t"
    public.~/_old$/               # a regular expression for one part

Names follow PostgreSQL's rules: without quotes they are folded to lower case and end at the first
character that an identifier cannot have; a double quote inside quotes is doubled. An expression is
one of Python's ``re``, tells case, and matches anywhere in the name unless ``^`` and ``$`` say
otherwise, as PostgreSQL's own operator ``~`` does; a slash in it is written ``\\/``.

One :class:`Filters` decides in every command, about names alone. What depends on what is left out
is known to the source's catalogue only: ``rules.selection`` adds that as names.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Final

from pgcopydb.errors import ConfigurationError


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

_CONTRADICTIONS: Final = (
    (Section.INCLUDE_SCHEMA, Section.EXCLUDE_SCHEMA),
    (Section.INCLUDE_TABLE, Section.EXCLUDE_TABLE),
    (Section.INCLUDE_TABLE, Section.INCLUDE_SCHEMA),
    (Section.INCLUDE_TABLE, Section.EXCLUDE_SCHEMA),
    (Section.INCLUDE_EXTENSION, Section.EXCLUDE_EXTENSION),
)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A part of a name: the name itself, unquoted, or an expression that is searched in it."""

    text: str
    is_expression: bool = False

    def matches(self, name: str) -> bool:
        """Tell whether ``name`` is meant."""
        if self.is_expression:
            return _expression(self.text).search(name) is not None
        return self.text == name


@lru_cache(maxsize=1000)
def _expression(text: str) -> re.Pattern[str]:
    return re.compile(text)


@dataclass(frozen=True, slots=True)
class Rule:
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
        return ".".join(_written(part) for part in parts)


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
    that cannot be left out of what the rules take, and ``needed_schemas`` the schemas that are
    made only for them: what ``rules.selection`` found on the source.
    """

    rules: tuple[Rule, ...] = ()
    origin: str = ""
    """Where the rules were read, for messages."""
    left_out: tuple[tuple[str, str], ...] = ()
    taken_in: tuple[tuple[str, str], ...] = ()
    needed_schemas: tuple[str, ...] = ()

    @property
    def selects_all(self) -> bool:
        """Whether nothing at all is left out."""
        return not self.rules

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
        return self.selects_table(schema, name) and not self.covers(
            Section.EXCLUDE_DATA, schema, name
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
    def _needed_schemas(self) -> frozenset[str]:
        return frozenset(self.needed_schemas)


EVERYTHING: Final = Filters()
"""No file: all is taken."""


def written_name(name: str) -> str:
    """Return ``name`` as it is written in a file of filters: in quotes only where it must be."""
    if _UNQUOTED.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'


# -- reading --------------------------------------------------------------------------------------

# PostgreSQL's scanner takes every character beyond ASCII as a letter.
_PLAIN: Final = re.compile(r"[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*")
_UNQUOTED: Final = re.compile(r"[a-z_][a-z0-9_$]*")
_QUOTED: Final = re.compile(r'"((?:[^"]|"")*)"')
_SLASHED: Final = re.compile(r"~/((?:[^/\\]|\\.)*)/")
_SECTION: Final = re.compile(r"\[\s*([^\]]*?)\s*\]\s*(?:[#;].*)?")

_FOLDING: Final = {ord(upper): ord(upper) + 32 for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def parse_filters(text: str, *, origin: str) -> Filters:
    """Return the filters that ``text`` describes.

    ``origin`` names the file in messages. Raises ConfigurationError with the line and what to
    write instead for an unknown section, a name that is not one, sections that contradict each
    other, and a section that would select nothing.
    """
    rules: list[Rule] = []
    headings: dict[Section, int] = {}
    section: Section | None = None
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        content = line.strip()
        if not content or content[0] in "#;":
            continue
        place = f"{origin}, line {number}"
        if content.startswith("["):
            section = _section(content, place)
            headings.setdefault(section, number)
        elif section is None:
            raise ConfigurationError(
                f"{place}: {content} stands in no section",
                hint="put a section before it, such as [exclude-table]",
            )
        else:
            rules.append(_rule(section, number, content, place))
    _refuse_contradictions(headings, origin)
    _refuse_empty(headings, rules, origin)
    return Filters(tuple(rules), origin)


def _section(content: str, place: str) -> Section:
    match = _SECTION.fullmatch(content)
    name = match.group(1) if match else content.strip("[]")
    names = [section.value for section in Section]
    if match and name in names:
        return Section(name)
    nearest = get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    known = f"write [{nearest[0]}]" if nearest else "write one of [" + "], [".join(names) + "]"
    raise ConfigurationError(f"{place}: {content} is not a section of a filter file", hint=known)


def _rule(section: Section, line: int, content: str, place: str) -> Rule:
    parts = list(_parts(section, content, place))
    if section not in QUALIFIED:
        if len(parts) != 1:
            raise ConfigurationError(
                f"{place}: {content} has {len(parts)} parts, but a name in [{section}] has one",
                hint=f"write {_written(parts[-1])}, or put quotes around a name that has a dot",
            )
        return Rule(section, line, None, parts[0])
    if len(parts) != 2:
        written = _written(parts[-1])
        raise ConfigurationError(
            f"{place}: {content} has {len(parts)} part{'s' if len(parts) > 1 else ''},"
            f" but a name in [{section}] is schema.name",
            hint=f"write public.{written}, or ~/.*/.{written} for every schema",
        )
    return Rule(section, line, *parts)


def _parts(section: Section, content: str, place: str) -> Iterator[Pattern]:
    position = 0
    while True:
        part, position = _part(section, content, position, place)
        yield part
        if not content.startswith(".", position):
            break
        position += 1
    rest = content[position:]
    if rest and not (rest[0].isspace() and rest.lstrip()[0] in "#;"):
        raise _not_a_name(content, place)


def _part(section: Section, content: str, position: int, place: str) -> tuple[Pattern, int]:
    if match := _SLASHED.match(content, position):
        return _compiled(match.group(1), content, place), match.end()
    if match := _QUOTED.match(content, position):
        name = match.group(1).replace('""', '"')
        if name and "\x00" not in name:
            return Pattern(name), match.end()
    elif match := _PLAIN.match(content, position):
        return Pattern(_folded(match.group())), match.end()
    if content.startswith("~", position):
        raise ConfigurationError(
            f"{place}: {content} is not a regular expression between slashes",
            hint=f"write ~/pattern/ in [{section}]; a slash in the pattern is written \\/",
        )
    raise _not_a_name(content, place)


def _compiled(text: str, content: str, place: str) -> Pattern:
    expression = text.replace("\\/", "/")
    try:
        _expression(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigurationError(
            f"{place}: {content} is not a regular expression: {error}",
            hint="put a backslash before a character that shall stand for itself",
        ) from None
    return Pattern(expression, is_expression=True)


def _not_a_name(content: str, place: str) -> ConfigurationError:
    guess = ".".join(written_name(part) for part in content.replace('"', "").split(".") if part)
    return ConfigurationError(
        f"{place}: {content} is not a name as SQL writes it",
        hint=f"put double quotes around a name with other characters: {guess}"
        if guess
        else "write one name a line, such as public.orders",
    )


def _refuse_contradictions(headings: dict[Section, int], origin: str) -> None:
    for one, other in _CONTRADICTIONS:
        if one in headings and other in headings:
            raise ConfigurationError(
                f"{origin}, line {max(headings[one], headings[other])}:"
                f" [{one}] and [{other}] contradict each other",
                hint=f"keep one of them: [{one}] already leaves out all that it does not name",
            )


def _refuse_empty(headings: dict[Section, int], rules: list[Rule], origin: str) -> None:
    """Raise ConfigurationError for an ``include-only`` that names nothing: all, or nothing?"""
    filled = {rule.section for rule in rules}
    for section, line in headings.items():
        if section.startswith("include-only") and section not in filled:
            raise ConfigurationError(
                f"{origin}, line {line}: [{section}] names nothing, so nothing would be copied",
                hint="list what to take, or remove the section",
            )


def _folded(name: str) -> str:
    """Return an unquoted name as PostgreSQL stores it: of the letters, A to Z become small."""
    return name.translate(_FOLDING)


def _written(part: Pattern) -> str:
    if part.is_expression:
        return "~/" + part.text.replace("/", "\\/") + "/"
    return written_name(part.text)
