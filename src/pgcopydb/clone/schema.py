"""The schema, by pg_dump and pg_restore: before the data, and what remains after it.

Indexes, key constraints and foreign keys are built by this program as soon as their tables are
complete; the archive's entries for them are left out by their oids. Whatever this program did not
build, pg_restore does, so nothing that pg_dump knows is ever lost.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Final

from msgspec.structs import replace
from psycopg import Connection, sql

from pgcopydb.clone import extensions
from pgcopydb.clone.context import Restoring
from pgcopydb.clone.dropping import ROUTINES, drop_relations
from pgcopydb.clone.prepare import replaces
from pgcopydb.clone.schema_dump import (
    Dumped,
    list_relations,
    read_dumped,
    stoppable,
)
from pgcopydb.errors import ExternalToolError
from pgcopydb.model.access import ChildAccess
from pgcopydb.model.dependencies import PG_CONSTRAINT
from pgcopydb.model.objects import ConstraintKind
from pgcopydb.pgtools.restore import Section, list_archive, restore_entries
from pgcopydb.postgres import discover, helper_schema
from pgcopydb.postgres.children import child_environment
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.durability import make_durable
from pgcopydb.postgres.readiness import read_default_privileges
from pgcopydb.postgres.short_sessions import short_session
from pgcopydb.preflight.text import statement_text
from pgcopydb.rules import ahead, default_privileges
from pgcopydb.rules.default_privileges import LISTED_AS
from pgcopydb.rules.toc import TocEntry, ids_of
from pgcopydb.runtime import signals

log = logging.getLogger(__name__)

Session = Connection[tuple[Any, ...]]

_DEADLOCK: Final = "deadlock detected"


RESTORING: Final = "schema before the data begun"

_ENTRIES_PER_JOB: Final = 50
"""Entries for which one more job of pg_restore, a process and a session, pays: 600 indexes and keys
of empty tables took 6.5 s with one job, 5.8 s with two and 5.7 s with four (2 busy cores)."""


_MANY_TABLES: Final = 1_000
"""Tables with rows from which some are made first: the target makes 500 to 1,000 a second."""

_TABLES_AHEAD: Final = 200


_TAKEN_FIRST: Final = frozenset({"EVENT TRIGGER", "PUBLICATION", LISTED_AS})
"""Kinds of entries whose objects on the target are in the way of what is made before them."""


class After(StrEnum):
    """What of the post-data section is restored when."""

    OBJECTS = "objects after the data"
    TRIGGERS = "triggers"
    PARTITION_TRIGGERS = "triggers of partitions"
    COMMENTS = "comments after the data"
    EVENT_TRIGGERS = "event triggers"


AFTER_KEYS: Final = (
    After.TRIGGERS,
    After.PARTITION_TRIGGERS,
    After.COMMENTS,
    After.EVENT_TRIGGERS,
)
"""What comes after the foreign keys, in this order."""

_KINDS: Final = {
    "TRIGGER": After.TRIGGERS,
    "EVENT TRIGGER": After.EVENT_TRIGGERS,
    # They may be on foreign keys and triggers, which come last.
    "COMMENT": After.COMMENTS,
    "SECURITY LABEL": After.COMMENTS,
}


def are_some_made_first(copying: Restoring, wanted: Sequence[int]) -> bool:
    """Tell whether tables are so many that some, whose rows are ``wanted``, are made first."""
    return len(wanted) >= _MANY_TABLES and not _is_replacing(copying)


def _is_replacing(copying: Restoring) -> bool:
    """Tell whether parts of the schema may be there already, which are dropped."""
    return replaces(copying) or copying.is_done(RESTORING)


def restore_before_data(
    copying: Restoring,
    *,
    wanted: Sequence[int] = (),
    made: Callable[[frozenset[int]], None] | None = None,
) -> None:
    """Create everything up to the empty tables.

    What is there under the same names is dropped first where the user said so, or where an
    interrupted run of this migration left a part of it; with the tables goes what was noted of
    their rows. With ``made``, where :func:`are_some_made_first`, some of the tables whose source's
    oids are ``wanted`` are created first, and it is called with theirs in between: from then on
    nothing else locks them.
    """
    replacing = _is_replacing(copying)
    copying.mark_done(RESTORING)
    in_use = _drop_replaced(copying) if replacing else frozenset()
    listed = before_data(copying)
    of_extensions = [entry for entry, _ in listed if entry.kind == "EXTENSION"]
    entries = [
        entry
        for entry, taken in listed
        if taken and not (entry.kind == "SCHEMA" and entry.name in in_use)
    ]
    del listed  # of 20,000 tables it takes some megabytes for as long as they are made
    if copying.options.requirements is not None:
        entries = _with_required_extensions(copying, entries)
    entries = _without_homes(copying, entries)
    if made is not None:
        halves = _choose_ahead(copying, entries, of_extensions, wanted)
        entries = list(halves.rest)
        _restore_before_data(copying, halves.first, "first.list", replacing=False)
        made(halves.tables)
    _restore_before_data(copying, entries, "pre-data.list", replacing=replacing)


def _choose_ahead(
    copying: Restoring,
    entries: Iterable[TocEntry],
    needed: Iterable[TocEntry],
    wanted: Sequence[int],
) -> ahead.Ahead:
    """Return ``entries`` in two halves; the first makes some of the tables that are ``wanted``.

    A table that needs one of ``needed`` is not among them: an extension that is there already is
    not made, but who needs it is told by its entry.
    """
    chosen = {entry.dump_id for entry in entries}
    # With dependencies pg_restore lists all sections, whichever is asked for.
    related = list_archive(
        copying.tools,
        copying.archive,
        dependencies=True,
        only=chosen | {entry.dump_id for entry in needed},
    )
    both = ahead.choose(related, wanted, count=_TABLES_AHEAD)
    first, rest = (
        tuple(one for one in half if one.dump_id in chosen) for half in (both.first, both.rest)
    )
    return ahead.Ahead(first, rest, both.tables)


@contextmanager
def _writing(run: Restoring) -> Iterator[ChildAccess]:
    """Yield how pg_restore reaches the target; what it made is on disk when the block is left."""
    with child_environment(run.target, run.work.path, durable=False) as access:
        yield access
    make_durable(run.target)


def _restore_before_data(
    run: Restoring, entries: Sequence[TocEntry], list_name: str, *, replacing: bool
) -> None:
    with _writing(run) as access, stoppable() as stopping:
        restore_entries(
            run.tools,
            access,
            run.archive,
            entries=entries,
            list_file=run.work.schema / list_name,
            target_version_num=run.target_facts.version_num,
            options=replace(run.options, drop_if_exists=replacing),
            stopping=stopping,
        )
    signals.raise_if_stopped()


def _with_required_extensions(run: Restoring, entries: Sequence[TocEntry]) -> list[TocEntry]:
    """Create the extensions among ``entries`` in the versions required; return what is left."""
    named = {entry.name for entry in entries if entry.kind == "EXTENSION"}
    wanted = [one for one in read_dumped(run.work).extensions if one.name in named]
    homes = {one.schema for one in wanted}
    target = run.target
    with (
        short_session(target, purpose="extensions") as session,
        reporting(target, "listing schemas"),
    ):
        rows = session.execute("select nspname::text from pg_catalog.pg_namespace")
        homes -= {row[0] for row in rows}
    schemas = [entry for entry in entries if entry.kind == "SCHEMA" and entry.name in homes]
    _restore_before_data(run, schemas, "extension-schemas.list", replacing=False)
    extensions.create(run, wanted)
    return [entry for entry in entries if entry.kind != "EXTENSION" and entry not in schemas]


def _without_homes(run: Restoring, entries: Sequence[TocEntry]) -> list[TocEntry]:
    """Return ``entries`` but for the schemas of extensions that are on the target and stay there.

    Such a schema is there too, and cannot be dropped with an extension in it.
    """
    made = {entry.name for entry in entries if entry.kind == "EXTENSION"}
    target = run.target
    with (
        short_session(target, purpose="extensions") as session,
        reporting(target, "listing extensions"),
    ):
        homes = {one.schema for one in discover.list_extensions(session) if one.name not in made}
    return [entry for entry in entries if entry.kind != "SCHEMA" or entry.name not in homes]


def restore_after_data(copying: Restoring, what: After, remaining: Iterable[TocEntry]) -> None:
    """Create one group of what ``remaining_after_data`` gave; once in a run.

    What an interrupted attempt made of the group is dropped first: no more than a part of it is
    there, and the owner of the last one may not be set. Nothing else was there, because what is
    replaced was dropped together with its table before the data.
    """
    if copying.is_done(what):
        return
    begun = f"{what} begun"
    replacing = copying.is_done(begun)
    copying.mark_done(begun)
    triggers = read_dumped(copying.work).partition_triggers
    altered = {key: place for place, key in enumerate(triggers)}
    entries = [entry for entry in remaining if _group(entry, altered) is what]
    jobs = _restore_jobs(copying, len(entries))
    if what is After.PARTITION_TRIGGERS:
        # pg_dump writes an ALTER TABLE for each, which changes the partitions below as well, and
        # tells what it stands on only where the parent's trigger is written too. So they go one by
        # one from the top down, after the triggers that made them, and are never dropped.
        entries.sort(key=lambda entry: altered[entry.object_key])
        jobs, replacing = 1, False
    if entries:
        try:
            _restore_group(copying, what, entries, replacing=replacing, jobs=jobs)
        except ExternalToolError as error:
            # Two jobs may want the tables of each other, for rules and policies that read another.
            if jobs == 1 or _DEADLOCK not in error.message:
                raise
            log.warning("target: %s; all of it is made again, one after the other", error.message)
            _restore_group(copying, what, entries, replacing=True, jobs=1)
    signals.raise_if_stopped()
    copying.mark_done(what)


def _restore_group(
    copying: Restoring, what: After, entries: Sequence[TocEntry], *, replacing: bool, jobs: int
) -> None:
    with _writing(copying) as access, stoppable() as stopping:
        restore_entries(
            copying.tools,
            access,
            copying.archive,
            entries=entries,
            list_file=copying.work.schema / f"{what.replace(' ', '-')}.list",
            target_version_num=copying.target_facts.version_num,
            options=replace(copying.options, drop_if_exists=replacing),
            jobs=jobs,
            stopping=stopping,
        )


def _restore_jobs(copying: Restoring, entries: int) -> int:
    """Return how many jobs of pg_restore ``entries`` are worth; what was asked for wins."""
    options = copying.options
    return options.restore_jobs or min(options.index_jobs, 1 + entries // _ENTRIES_PER_JOB)


def before_data(run: Restoring) -> list[tuple[TocEntry, bool]]:
    """Return the entries of the pre-data section, each with whether it is to be restored."""
    dumped = read_dumped(run.work)
    entries = _entries(run, dumped, Section.PRE_DATA)
    filtered = _filtered(run, dumped)
    options = run.options
    left_out = _left_out(
        options.skip_extensions, options.skip_ext_comments, options.skip_collations
    )
    # All that restoring this schema does is to give it to a role that only a superuser may become.
    usual = dumped.first_owns_public and not run.target_facts.is_superuser

    def remains(entry: TocEntry) -> bool:
        is_public = entry.kind == "SCHEMA" and entry.name == "public"
        return entry.dump_id not in filtered and not left_out(entry) and not (usual and is_public)

    return [(entry, remains(entry)) for entry in entries]


def after_data(run: Restoring) -> list[TocEntry]:
    """Return the entries of the post-data section."""
    return _after_data(run, read_dumped(run.work))


def _after_data(
    run: Restoring, dumped: Dumped, keep: Callable[[TocEntry], bool] = lambda _: True
) -> list[TocEntry]:
    before = _entries(run, dumped, Section.PRE_DATA, keep=lambda one: one.kind == "SCHEMA")
    schemas = [entry.name for entry in before]
    return _entries(run, dumped, Section.POST_DATA, schemas, keep=keep)


def _entries(
    run: Restoring,
    dumped: Dumped,
    section: Section,
    schemas: Iterable[str] = (),
    *,
    keep: Callable[[TocEntry], bool] = lambda _: True,
) -> list[TocEntry]:
    """Return the entries of a section; a name with a space is read right only where it is known."""
    owners = dumped.spaced_roles
    return list_archive(
        run.tools, run.archive, section=section, schemas=schemas, owners=owners, keep=keep
    )


def remaining_after_data(
    copying: Restoring, built: Iterable[tuple[int, int]] | None
) -> list[TocEntry]:
    """Return the entries of the post-data section that pg_restore has to make.

    ``built`` are catalog and oid of what this program makes itself, None when it makes nothing.
    """
    # The capture's own publications serve this migration and mean nothing on the target.
    dumped = read_dumped(copying.work)
    own = frozenset(built or ()) | frozenset(dumped.publications)
    filtered = _filtered(copying, dumped)

    def remains(entry: TocEntry) -> bool:
        # An INDEX ATTACH has no oid of its own; it is part of building the indexes.
        return (
            (built is None or entry.kind != "INDEX ATTACH")
            and entry.object_key not in own
            and entry.dump_id not in filtered
        )

    return _after_data(copying, dumped, remains)


def without_constraints(
    copying: Restoring, entries: list[TocEntry], constraints: frozenset[int]
) -> list[TocEntry]:
    """Return ``entries`` but for comments on ``constraints``, by oid, which are not there."""
    if not constraints:
        return entries
    every = list_archive(copying.tools, copying.archive, dependencies=True)
    gone = ids_of(every, frozenset((PG_CONSTRAINT, oid) for oid in constraints))
    return [entry for entry in entries if entry.dump_id not in gone]


def _filtered(run: Restoring, dumped: Dumped) -> frozenset[int]:
    """Return the entries of the dump that the filters leave out."""
    if not dumped.left_out:
        return frozenset()
    every = list_archive(run.tools, run.archive, dependencies=True)
    return ids_of(every, frozenset(dumped.left_out), frozenset(dumped.unowned))


def _group(entry: TocEntry, altered: Collection[tuple[int, int]]) -> After:
    """Return when ``entry`` is restored; ``altered`` are triggers that only change a partition."""
    if entry.object_key in altered:
        return After.PARTITION_TRIGGERS
    # an event trigger is made last of all, and what is said of it cannot come before
    if entry.schema is None and entry.name.startswith("EVENT TRIGGER "):
        return After.EVENT_TRIGGERS
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


# As pg_restore prints names, where a line break is a space.


def _drop_replaced(copying: Restoring) -> frozenset[str]:
    """Drop from the target the relations that both sides have, and what would hold them back.

    Returns the schemas that hold other relations, and stay as they are.

    pg_restore drops object by object in the order of the archive; foreign keys, views that the
    archive makes after the data, and what depends on each other would stop it. Nothing that only
    the target has is dropped.
    """
    target = copying.target
    dumped = read_dumped(copying.work)
    replaced = {(relation.schema, relation.name) for relation in dumped.relations}
    filtered = _filtered(copying, dumped)
    entries = _after_data(
        copying, dumped, lambda one: one.kind in _TAKEN_FIRST and one.dump_id not in filtered
    )
    with connect(target, purpose="clone") as other, reporting(target, "dropping what is replaced"):
        _drop_unqualified(other, entries)
        if not copying.options.no_acl:
            _put_back_default_privileges(other, entries)
        _drop_keys_to(other, replaced)
        common = [one for one in list_relations(other) if (one.schema, one.name) in replaced]
        routines = [one for one, taken in before_data(copying) if taken and one.kind in ROUTINES]
        drop_relations(other, common, ((one.schema, one.name) for one in routines))
        # Not before: a lane of that run which was just committing held its table until it was done.
        helper_schema.forget_parts(other, copying.header.run_id)
        return frozenset(one.schema for one in list_relations(other))


def _drop_unqualified(connection: Session, entries: Iterable[TocEntry]) -> None:
    for entry in entries:
        if entry.kind == "EVENT TRIGGER":
            statement = sql.SQL("drop event trigger if exists {}")
        elif entry.kind == "PUBLICATION":
            statement = sql.SQL("drop publication if exists {}")
        else:
            continue
        connection.execute(statement.format(sql.Identifier(entry.name)))


def _put_back_default_privileges(connection: Session, entries: Iterable[TocEntry]) -> None:
    """Take back what an earlier copy set for objects of the future, which ``entries`` set again.

    It would apply to all that is about to be made, which is older than that on the source.
    """
    listed = {(one.schema, one.name, one.owner) for one in entries if one.kind == LISTED_AS}
    if not listed:
        return
    for one in read_default_privileges(connection):
        if default_privileges.listed(one) in listed:
            for statement in default_privileges.put_back(one):
                connection.execute(statement_text(statement).encode())


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
