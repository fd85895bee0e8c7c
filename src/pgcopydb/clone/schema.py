"""The schema, by pg_dump and pg_restore: before the data, and what remains after it.

Indexes, key constraints and foreign keys are built by this program as soon as their tables are
complete; the archive's entries for them are left out by their oids. Whatever this program did not
build, pg_restore does, so nothing that pg_dump knows is ever lost.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final

from psycopg import Connection, sql

from pgcopydb.clone.context import Copying
from pgcopydb.model.objects import ConstraintKind, Table
from pgcopydb.pgtools.dump import dump_schema
from pgcopydb.pgtools.restore import Section, check_archive, list_archive, restore_section
from pgcopydb.postgres import discover
from pgcopydb.postgres.children import child_environment
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.rules.toc import TocEntry, without_publications
from pgcopydb.runtime import signals


class After(StrEnum):
    """What of the post-data section is restored when."""

    OBJECTS = "objects after the data"
    TRIGGERS = "triggers"
    COMMENTS = "comments after the data"
    EVENT_TRIGGERS = "event triggers"


_KINDS: Final = {
    "TRIGGER": After.TRIGGERS,
    "EVENT TRIGGER": After.EVENT_TRIGGERS,
    # They may be on foreign keys and triggers, which come last.
    "COMMENT": After.COMMENTS,
    "SECURITY LABEL": After.COMMENTS,
}


def dump(copying: Copying, snapshot: str) -> None:
    """Write the source's schema, as the snapshot shows it, into the work directory."""
    with child_environment(copying.source, copying.work.path) as access:
        dump_schema(
            copying.tools,
            access,
            snapshot,
            copying.archive,
            stopping=signals.stop_requested,
        )
    if copying.tools.pg_dump_version[0] != copying.source_facts.major:
        check_archive(copying.tools, copying.archive)


def restore_before_data(copying: Copying, *, replacing: bool) -> None:
    """Create everything up to the empty tables.

    ``replacing`` drops what is there under the same names first: because the user said so, or
    because an interrupted run of this migration left a part of it.
    """
    if replacing:
        _drop_foreign_keys(copying)
    entries = list_archive(copying.tools, copying.archive, section=Section.PRE_DATA)
    options = copying.options
    left_out = _left_out(
        options.skip_extensions, options.skip_ext_comments, options.skip_collations
    )
    with child_environment(copying.target, copying.work.path) as access:
        restore_section(
            copying.tools,
            access,
            copying.archive,
            section=Section.PRE_DATA,
            entries=[entry for entry in entries if not left_out(entry)],
            list_file=copying.work.schema / "pre-data.list",
            target_version_num=copying.target_facts.version_num,
            options=replace(options, drop_if_exists=replacing),
            stopping=signals.stop_requested,
        )
    signals.raise_if_stopped()


def restore_after_data(copying: Copying, what: After, built: Iterable[tuple[int, int]]) -> None:
    """Create one group of what comes after the data, save what is ``built``; once in a run."""
    if copying.is_done(what):
        return
    entries = [entry for entry in _remaining(copying, frozenset(built)) if _group(entry) is what]
    if entries:
        with child_environment(copying.target, copying.work.path) as access:
            restore_section(
                copying.tools,
                access,
                copying.archive,
                section=Section.POST_DATA,
                entries=entries,
                list_file=copying.work.schema / f"{what.replace(' ', '-')}.list",
                target_version_num=copying.target_facts.version_num,
                options=copying.options,
                stopping=signals.stop_requested,
            )
    signals.raise_if_stopped()
    copying.mark_done(what)


def _remaining(copying: Copying, built: frozenset[tuple[int, int]]) -> Iterable[TocEntry]:
    """Return the entries of the post-data section that pg_restore has to make."""
    entries = list_archive(copying.tools, copying.archive, section=Section.POST_DATA)
    remaining = [
        entry
        for entry in entries
        # An INDEX ATTACH has no oid of its own; it is part of building the indexes.
        if entry.kind != "INDEX ATTACH" and entry.object_key not in built
    ]
    publication = copying.header.publication
    if publication is None:
        return remaining
    # The capture's own publications serve this migration and mean nothing on the target.
    return without_publications(remaining, [publication, f"{publication}_insert"])


def _group(entry: TocEntry) -> After:
    return _KINDS.get(entry.kind, After.OBJECTS)


def _left_out(extensions: bool, comments: bool, collations: bool) -> Callable[[TocEntry], bool]:
    """Return what says of an entry that the options leave it out."""
    kinds = {kind for kind, out in (("EXTENSION", extensions), ("COLLATION", collations)) if out}

    def left_out(entry: TocEntry) -> bool:
        if entry.kind in kinds:
            return True
        about_extension = entry.kind == "COMMENT" and entry.name.startswith("EXTENSION ")
        return about_extension and (comments or extensions)

    return left_out


def _drop_foreign_keys(copying: Copying) -> None:
    """Drop the foreign keys between the target's tables that are about to be replaced.

    pg_restore drops the tables one by one and, without this, would be stopped by the first that
    another one refers to.
    """
    source, target = copying.source, copying.target
    with connect(source, purpose="clone") as one, reporting(source, "reading the list of tables"):
        replaced = {_name(table) for table in discover.list_tables(one)}
    with connect(target, purpose="clone") as other, reporting(target, "dropping foreign keys"):
        _drop_keys_to(other, replaced)


def _drop_keys_to(connection: Connection[tuple[Any, ...]], replaced: set[tuple[str, str]]) -> None:
    for key in discover.list_constraints(connection):
        if key.kind is not ConstraintKind.FOREIGN_KEY or key.parent_oid is not None:
            continue
        if (key.referenced_schema, key.referenced_name) in replaced:
            connection.execute(
                sql.SQL("alter table {} drop constraint {}").format(
                    sql.Identifier(key.table_schema, key.table_name), sql.Identifier(key.name)
                )
            )


def _name(table: Table) -> tuple[str, str]:
    return table.schema, table.name
