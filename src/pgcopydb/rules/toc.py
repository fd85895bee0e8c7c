"""The table of contents of a dump, as ``pg_restore --list`` prints it, and choices from it.

A line reads ``DUMPID; CATALOG OID KIND SCHEMA NAME OWNER`` with single spaces between fields that
may hold spaces themselves: kinds are known, schemas and owners can be told, and whoever knows an
object's oid finds it without reading names at all. pg_restore prints line breaks in names as
spaces and a missing schema as ``-``. Reading the list back, it looks at nothing but the DUMPID.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Set
from sys import intern
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

_LINE = re.compile(r"(\d+); (\d+) (\d+) (.+)")
_DEPENDS = re.compile(r";\tdepends on:((?: \d+)+)")
_UPPER = re.compile(r"[A-Z]+(?: [A-Z]+)*(?= )")

KINDS: Final = (
    "ACCESS METHOD",
    "ACL",
    "AGGREGATE",
    "BLOB",
    "BLOB COMMENTS",
    "BLOB METADATA",
    "BLOBS",
    "CAST",
    "CHECK CONSTRAINT",
    "COLLATION",
    "COMMENT",
    "CONSTRAINT",
    "CONVERSION",
    "DATABASE",
    "DATABASE PROPERTIES",
    "DEFAULT",
    "DEFAULT ACL",
    "DOMAIN",
    "ENCODING",
    "EVENT TRIGGER",
    "EXTENSION",
    "FK CONSTRAINT",
    "FOREIGN DATA WRAPPER",
    "FOREIGN TABLE",
    "FUNCTION",
    "INDEX",
    "INDEX ATTACH",
    "MATERIALIZED VIEW",
    "MATERIALIZED VIEW DATA",
    "OPERATOR",
    "OPERATOR CLASS",
    "OPERATOR FAMILY",
    "POLICY",
    "PROCEDURAL LANGUAGE",
    "PROCEDURE",
    "PUBLICATION",
    "PUBLICATION TABLE",
    "PUBLICATION TABLES IN SCHEMA",
    "ROW SECURITY",
    "RULE",
    "SCHEMA",
    "SEARCHPATH",
    "SECURITY LABEL",
    "SEQUENCE",
    "SEQUENCE OWNED BY",
    "SEQUENCE SET",
    "SERVER",
    "SHELL TYPE",
    "STATISTICS",
    "STATISTICS DATA",
    "STDSTRINGS",
    "SUBSCRIPTION",
    "SUBSCRIPTION TABLE",
    "TABLE",
    "TABLE ATTACH",
    "TABLE DATA",
    "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "TEXT SEARCH PARSER",
    "TEXT SEARCH TEMPLATE",
    "TRANSFORM",
    "TRIGGER",
    "TYPE",
    "USER MAPPING",
    "VIEW",
)
"""What pg_dump 12 to 18 call the entries of an archive."""

_KIND = re.compile(f"(?:{'|'.join(sorted(KINDS, key=len, reverse=True))})(?= )")


class TocEntry(Struct, frozen=True, gc=False):
    """One entry. ``catalog_oid`` and ``oid`` name the object on the dumped server, 0 where none.

    ``schema`` is None for what lives in none. ``name`` is the object's, followed or preceded by
    more for some kinds: ``t trigger`` for a TRIGGER, ``INDEX i`` for a COMMENT on one. ``depends``
    are the entries that it needs, where the list tells them.
    """

    dump_id: int
    catalog_oid: int
    oid: int
    kind: str
    schema: str | None
    name: str
    owner: str
    line: str
    depends: tuple[int, ...] = ()

    @property
    def object_key(self) -> tuple[int, int]:
        """The object's catalog and oid, as pg_depend names it."""
        return self.catalog_oid, self.oid


def parse_list(
    text: str,
    *,
    schemas: Iterable[str] = (),
    owners: Iterable[str] = (),
    only: Container[int] | None = None,
    keep: Callable[[TocEntry], bool] = lambda _: True,
) -> list[TocEntry]:
    """Return the entries of a list in its order; comments and empty lines are passed over.

    A verbose list says under an entry on which others it depends. ``schemas`` and ``owners`` are
    names of the dumped database: only a name with a space needs them. ``only`` are the numbers of
    the entries to be returned, if not all, and ``keep`` tells of an entry, but for what it depends
    on, whether it is. Raises ValueError for a line of another form.
    """
    known_schemas = _spaced(schemas)
    known_owners = _spaced(owners)
    entries: list[TocEntry] = []
    passed_over = False
    for line in _lines(text):
        if not line.strip():
            continue
        if not line.startswith(";"):
            passed_over = only is not None and _number(line) not in only
            if passed_over:
                continue
            entry = _parse_line(line, known_schemas, known_owners)
            passed_over = not keep(entry)
            if not passed_over:
                entries.append(entry)
        elif entries and not passed_over and (depends := _DEPENDS.fullmatch(line.rstrip())):
            needed = tuple(int(number) for number in depends.group(1).split())
            entries[-1] = replace(entries[-1], depends=needed)
    return entries


def _lines(text: str) -> Iterator[str]:
    """Give the lines of ``text``, of which a large dump's list has hundreds of thousands."""
    begin = 0
    while (end := text.find("\n", begin)) >= 0:
        yield text[begin:end]
        begin = end + 1
    yield text[begin:]


def render_list(entries: Iterable[TocEntry]) -> str:
    """Return the text that ``pg_restore --use-list`` takes: these entries, in this order."""
    return "".join(f"{entry.line}\n" for entry in entries)


def ids_of(
    entries: Iterable[TocEntry],
    left_out: Set[tuple[int, int]],
    unowned: Set[tuple[int, int]] = frozenset(),
) -> frozenset[int]:
    """Return the entries of what is ``left_out``, and of what is said of it: comments, privileges.

    Objects are named by catalog and oid. Of the sequences ``unowned`` only the entry that gives
    them to a column counts. The entries must tell what they depend on.
    """
    listed = list(entries)
    gone = {entry.dump_id for entry in listed if entry.object_key in left_out}
    alone = {entry.dump_id for entry in listed if entry.object_key in unowned}
    for entry in listed:
        # What has no catalog is an addition to another object.
        added = entry.catalog_oid == 0 and not gone.isdisjoint(entry.depends)
        given = entry.kind == "SEQUENCE OWNED BY" and not alone.isdisjoint(entry.depends)
        if added or given:
            gone.add(entry.dump_id)
    return frozenset(gone)


def _number(line: str) -> int:
    number = line.partition(";")[0]
    return int(number) if number.isdecimal() else -1


def _parse_line(line: str, schemas: tuple[str, ...], owners: tuple[str, ...]) -> TocEntry:
    match = _LINE.fullmatch(line.rstrip("\r"))
    if match is None:
        raise ValueError(f"not a line of a dump's table of contents: {line!r}")
    dump_id, catalog_oid, oid, rest = match.groups()
    kind = _kind(rest)
    rest = rest[len(kind) + 1 :]
    schema = _first(rest, schemas)
    rest = rest[len(schema) + 1 :]
    owner = _last(rest, owners)
    name = rest[: len(rest) - len(owner) - 1]
    return TocEntry(
        int(dump_id),
        int(catalog_oid),
        int(oid),
        intern(kind),
        None if schema == "-" else intern(schema),
        name,
        intern(owner),
        line,
    )


def _kind(rest: str) -> str:
    # A kind of a newer pg_dump is written in capitals too.
    match = _KIND.match(rest) or _UPPER.match(rest)
    if match is None:
        raise ValueError(f"no kind of object at the start of {rest!r}")
    return match.group()


def _first(rest: str, known: tuple[str, ...]) -> str:
    return next((name for name in known if rest.startswith(f"{name} ")), rest.partition(" ")[0])


def _last(rest: str, known: tuple[str, ...]) -> str:
    return next((name for name in known if rest.endswith(f" {name}")), rest.rpartition(" ")[2])


def _spaced(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that hold spaces when printed, longest first."""
    printed = {one_line(name) for name in names}
    return tuple(sorted((name for name in printed if " " in name), key=len, reverse=True))


def one_line(name: str) -> str:
    """Return ``name`` as pg_restore prints it."""
    return name.replace("\n", " ").replace("\r", " ")
