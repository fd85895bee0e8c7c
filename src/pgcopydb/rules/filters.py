"""Reads the file that says what of a database is taken and what is left out.

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
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

from pgcopydb.errors import ConfigurationError
from pgcopydb.model.filters import (
    EVERYTHING,
    QUALIFIED,
    Filters,
    Pattern,
    Rule,
    Section,
    compiled,
    written,
    written_name,
)

__all__ = ["EVERYTHING", "Filters", "Rule", "Section", "parse_filters"]

_CONTRADICTIONS: Final = (
    (Section.INCLUDE_SCHEMA, Section.EXCLUDE_SCHEMA),
    (Section.INCLUDE_TABLE, Section.EXCLUDE_TABLE),
    (Section.INCLUDE_TABLE, Section.INCLUDE_SCHEMA),
    (Section.INCLUDE_TABLE, Section.EXCLUDE_SCHEMA),
    (Section.INCLUDE_EXTENSION, Section.EXCLUDE_EXTENSION),
)

# PostgreSQL's scanner takes every character beyond ASCII as a letter.
_PLAIN: Final = re.compile(r"[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*")
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
                hint=f"write {written(parts[-1])}, or put quotes around a name that has a dot",
            )
        return Rule(section, line, None, parts[0])
    if len(parts) != 2:
        name = written(parts[-1])
        raise ConfigurationError(
            f"{place}: {content} has {len(parts)} part{'s' if len(parts) > 1 else ''},"
            f" but a name in [{section}] is schema.name",
            hint=f"write public.{name}, or ~/.*/.{name} for every schema",
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
        compiled(expression)
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
