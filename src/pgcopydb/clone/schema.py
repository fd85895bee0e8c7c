"""The schema, by pg_dump and pg_restore: before the data, and what remains after it.

Indexes, key constraints and foreign keys are built by this program as soon as their tables are
complete; the archive's entries for them are left out by their oids. Whatever this program did not
build, pg_restore does, so nothing that pg_dump knows is ever lost.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from pgcopydb.clone.context import Copying
from pgcopydb.errors import ExternalToolError, TargetError
from pgcopydb.model.objects import ConstraintKind
from pgcopydb.pgtools.dump import dump_schema
from pgcopydb.pgtools.restore import Section, check_archive, list_archive, restore_section
from pgcopydb.postgres import discover
from pgcopydb.postgres.children import child_environment
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.snapshot import lock_refused
from pgcopydb.rules.toc import TocEntry, without_publications
from pgcopydb.runtime import signals

Session = Connection[tuple[Any, ...]]


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
        try:
            dump_schema(
                copying.tools,
                access,
                snapshot,
                copying.archive,
                stopping=signals.stop_requested,
            )
        except ExternalToolError as error:
            if "statement timeout" in error.message:  # pg_dump's name for its lock timeout
                raise lock_refused() from error
            raise
    if copying.tools.pg_dump_version[0] != copying.source_facts.major:
        check_archive(copying.tools, copying.archive)


def restore_before_data(copying: Copying, *, replacing: bool) -> None:
    """Create everything up to the empty tables.

    ``replacing`` drops what is there under the same names first: because the user said so, or
    because an interrupted run of this migration left a part of it.
    """
    if replacing:
        _drop_replaced(copying)
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


def restore_after_data(copying: Copying, what: After, remaining: Iterable[TocEntry]) -> None:
    """Create one group of what ``remaining_after_data`` gave; once in a run."""
    if copying.is_done(what):
        return
    entries = [entry for entry in remaining if _group(entry) is what]
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


def remaining_after_data(copying: Copying, built: Iterable[tuple[int, int]]) -> list[TocEntry]:
    """Return the entries of the post-data section that pg_restore has to make.

    ``built`` are catalog and oid of what this program makes itself.
    """
    own = frozenset(built)
    before = list_archive(copying.tools, copying.archive, section=Section.PRE_DATA)
    entries = list_archive(
        copying.tools,
        copying.archive,
        section=Section.POST_DATA,
        # A name with a space is read right only where it is known.
        schemas=[entry.name for entry in before if entry.kind == "SCHEMA"],
    )
    remaining = [
        entry
        for entry in entries
        # An INDEX ATTACH has no oid of its own; it is part of building the indexes.
        if entry.kind != "INDEX ATTACH" and entry.object_key not in own
    ]
    publication = copying.header.publication
    if publication is None:
        return remaining
    # The capture's own publications serve this migration and mean nothing on the target.
    return list(without_publications(remaining, [publication, f"{publication}_insert"]))


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


_RELATIONS: Final = (
    "select c.relkind::text, n.nspname::text, c.relname::text"
    " from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace"
    " where c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relpersistence <> 't'"
    " and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')"
    " and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'"
    " and not exists (select from pg_catalog.pg_depend as e"
    "  where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')"
)

_DROP: Final = {
    "v": sql.SQL("drop view if exists {}"),
    "m": sql.SQL("drop materialized view if exists {}"),
    "f": sql.SQL("drop foreign table if exists {}"),
    "r": sql.SQL("drop table if exists {}"),
    "p": sql.SQL("drop table if exists {}"),
}


@dataclass(frozen=True, slots=True, order=True)
class _Relation:
    kind: str
    schema: str
    name: str


def _drop_replaced(copying: Copying) -> None:
    """Drop from the target the relations that both sides have, and what would hold them back.

    pg_restore drops object by object in the order of the archive; foreign keys, and views that the
    archive makes after the data, would stop it. Nothing that only the target has is dropped.
    """
    source, target = copying.source, copying.target
    with connect(source, purpose="clone") as one, reporting(source, "reading the list of tables"):
        replaced = {(relation.schema, relation.name) for relation in _relations(one)}
    entries = list_archive(copying.tools, copying.archive, section=Section.POST_DATA)
    with connect(target, purpose="clone") as other, reporting(target, "dropping what is replaced"):
        _drop_unqualified(other, entries)
        _drop_keys_to(other, replaced)
        common = [one for one in _relations(other) if (one.schema, one.name) in replaced]
        _drop_relations(other, common)


def _relations(connection: Session) -> list[_Relation]:
    return [_Relation(*row) for row in connection.execute(_RELATIONS)]


def _drop_unqualified(connection: Session, entries: Iterable[TocEntry]) -> None:
    for entry in entries:
        if entry.kind == "EVENT TRIGGER":
            statement = sql.SQL("drop event trigger if exists {}")
        elif entry.kind == "PUBLICATION":
            statement = sql.SQL("drop publication if exists {}")
        else:
            continue
        connection.execute(statement.format(sql.Identifier(entry.name)))


def _drop_keys_to(connection: Session, replaced: set[tuple[str, str]]) -> None:
    for key in discover.list_constraints(connection):
        if key.kind is not ConstraintKind.FOREIGN_KEY or key.parent_oid is not None:
            continue
        if (key.referenced_schema or "", key.referenced_name or "") in replaced:
            connection.execute(
                sql.SQL("alter table {} drop constraint {}").format(
                    sql.Identifier(key.table_schema, key.table_name), sql.Identifier(key.name)
                )
            )


def _drop_relations(connection: Session, relations: Iterable[_Relation]) -> None:
    """Drop ``relations``, those that others depend on after these; views come first."""
    waiting = sorted(relations, key=lambda one: (one.kind not in {"v", "m"}, one))
    while waiting:
        held: list[_Relation] = []
        for relation in waiting:
            statement = _DROP[relation.kind].format(sql.Identifier(relation.schema, relation.name))
            try:
                connection.execute(statement)
            except psycopg.errors.DependentObjectsStillExist as error:
                held.append(relation)
                if len(held) == len(waiting):
                    raise TargetError(
                        f"target: {relation.schema}.{relation.name} cannot be replaced: "
                        + (error.diag.message_detail or "something depends on it").split("\n")[0],
                        hint="drop what only the target has and depends on it",
                    ) from error
        waiting = held
