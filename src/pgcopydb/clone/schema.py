"""The schema, by pg_dump and pg_restore: before the data, and what remains after it.

Indexes, key constraints and foreign keys are built by this program as soon as their tables are
complete; the archive's entries for them are left out by their oids. Whatever this program did not
build, pg_restore does, so nothing that pg_dump knows is ever lost.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from enum import StrEnum
from typing import Any, Final

import psycopg
from msgspec import Struct
from msgspec.structs import replace
from psycopg import Connection, sql

from pgcopydb.clone import extensions
from pgcopydb.clone.context import Restoring, archive
from pgcopydb.clone.prepare import replaces
from pgcopydb.errors import ExternalToolError, StateError, TargetError
from pgcopydb.model.access import ChildAccess
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import ConstraintKind, Extension, ServerFacts
from pgcopydb.pgtools.dump import LOCK_WAIT, dump_schema
from pgcopydb.pgtools.files import checksum_of
from pgcopydb.pgtools.find import Tools
from pgcopydb.pgtools.restore import Section, check_archive, list_archive, restore_entries
from pgcopydb.postgres import discover, helper_schema
from pgcopydb.postgres.children import child_environment
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.durability import make_durable
from pgcopydb.postgres.short_sessions import short_session
from pgcopydb.postgres.snapshot import count_lockable, import_snapshot, lock_refused
from pgcopydb.rules import ahead
from pgcopydb.rules.selection import Selection
from pgcopydb.rules.toc import TocEntry, ids_of
from pgcopydb.runtime import signals
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.store import read_fact, write_fact

log = logging.getLogger(__name__)

Session = Connection[tuple[Any, ...]]

_DEADLOCK: Final = "deadlock detected"

_DUMPED: Final = "schema dumped"

RESTORING: Final = "schema before the data begun"

_ENTRIES_PER_JOB: Final = 50
"""Entries for which one more job of pg_restore, a process and a session, pays: 600 indexes and keys
of empty tables took 6.5 s with one job, 5.8 s with two and 5.7 s with four (2 busy cores)."""


_LOCKED_A_SECOND: Final = 2_000
"""Tables that a busy server locks in a second at least. pg_dump's limit is of a statement, and a
single one locks all partitions of a table: 100,000 took more than five seconds."""

_MANY_TABLES: Final = 1_000
"""Tables with rows from which some are made first: the target makes 500 to 1,000 a second."""

_TABLES_AHEAD: Final = 500


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


class Dumped(Struct, frozen=True, kw_only=True):
    """What is known of the schema dump of a work directory: who wrote it, and what is in it."""

    source_version_num: int
    relations: tuple["Relation", ...]
    """Those that are to be restored."""
    left_out: tuple[tuple[int, int], ...] = ()
    """Catalog and oid of what the filters leave out."""
    unowned: tuple[tuple[int, int], ...] = ()
    """Sequences that are made without the table that owns them."""
    extensions: tuple[Extension, ...] = ()
    publications: tuple[tuple[int, int], ...] = ()
    """Catalog and oid of the capture's own publications, and of what they publish."""
    checksum: int
    """Of the archive: most of it is definitions in plain text, which pg_restore believes."""
    spaced_roles: tuple[str, ...] = ()
    """Roles whose names hold spaces, without which a list of the dump is not read right."""


class Dumpable(Struct, frozen=True, kw_only=True):
    """What the source has, as a snapshot shows it, that has to be known beside its dump."""

    relations: tuple["Relation", ...]
    extensions: tuple[Extension, ...]
    publications: tuple[tuple[int, int], ...]
    spaced_roles: tuple[str, ...]


def dump(
    work: WorkDirectory,
    source: Endpoint,
    facts: ServerFacts,
    tools: Tools,
    snapshot: str,
    *,
    selection: Selection,
) -> None:
    """Write the source's schema, as the snapshot shows it, into the work directory.

    What is not in the ``selection`` is written down, and left out when the dump is restored. Once
    a signal says so, pg_dump is ended.
    """
    # closed, not committed: a commit of what was only read may fail, and would be no error
    with closing(connect(source, purpose="clone")) as session:
        import_snapshot(source, session, snapshot)
        found = read_dumpable(work, source, session)
        tables = count_lockable(session)
    with child_environment(source, work.path) as access:
        excluded = excluded_tables(found, selection)
        write_dump(
            work,
            tools,
            access,
            snapshot,
            major=facts.major,
            tables=tables,
            exclude_tables=excluded,
        )
    note_dump(work, facts, found, selection)


def read_dumpable(work: WorkDirectory, source: Endpoint, session: Session) -> Dumpable:
    """Return what has to be known beside a dump, in the snapshot that ``session`` has."""
    with reporting(source, "reading the relations"):
        return Dumpable(
            relations=tuple(list_relations(session)),
            extensions=tuple(discover.list_extensions(session)),
            publications=_own_publications(work, session),
            spaced_roles=tuple(row[0] for row in session.execute(_SPACED_ROLES)),
        )


def excluded_tables(found: Dumpable, selection: Selection) -> list[tuple[str, str]]:
    """Return the tables, by schema and name, that pg_dump is to neither lock nor write."""
    return [
        (one.schema, one.name)
        for one in found.relations
        if one.is_locked and not selection.filters.selects_table(one.schema, one.name)
    ]


def write_dump(
    work: WorkDirectory,
    tools: Tools,
    access: ChildAccess,
    snapshot: str,
    *,
    major: int,
    tables: int,
    exclude_tables: Iterable[tuple[str, str]] = (),
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Have pg_dump write the schema of a source of version ``major``, as the snapshot shows it.

    ``tables`` is how many there are, which pg_dump locks, some thousands by one statement. Waits
    for nothing but pg_dump, which is ended once ``stopping`` or a signal says so.
    """
    output = archive(work)
    with _stoppable() as stop_requested:
        try:
            dump_schema(
                tools,
                access,
                snapshot,
                output,
                exclude_tables=exclude_tables,
                lock_wait_seconds=LOCK_WAIT + tables // _LOCKED_A_SECOND,
                stopping=lambda: stop_requested() or stopping(),
            )
        except ExternalToolError as error:
            if "statement timeout" in error.message:  # pg_dump's name for its lock timeout
                raise lock_refused() from error
            raise
    if tools.pg_dump_version[0] != major:
        check_archive(tools, output)


def note_dump(
    work: WorkDirectory, facts: ServerFacts, found: Dumpable, selection: Selection
) -> None:
    """Write down what is in the dump that :func:`write_dump` made: the ``selection`` of what is."""
    filters = selection.filters
    with work.store() as store:
        dumped = Dumped(
            source_version_num=facts.version_num,
            relations=tuple(
                one for one in found.relations if filters.selects_table(one.schema, one.name)
            ),
            left_out=tuple(selection.left_out),
            unowned=tuple(selection.unowned),
            extensions=found.extensions,
            publications=found.publications,
            checksum=checksum_of(archive(work)),
            spaced_roles=found.spaced_roles,
        )
        write_fact(store, _DUMPED, dumped)


def read_dumped(work: WorkDirectory) -> Dumped:
    """Return what is known of the schema dump; raises StateError when there is none, or not it."""
    with work.store() as store:
        dumped: Dumped | None = read_fact(store, _DUMPED, Dumped)
    if dumped is None or not archive(work).exists():
        raise StateError(
            f"{work.path} holds no schema dump",
            hint="run pgcopydb dump schema first, with the same --dir",
        )
    if checksum_of(archive(work)) != dumped.checksum:
        raise StateError(
            f"{archive(work)} is damaged: its checksum is wrong",
            hint="start over with --restart, or use another --dir",
        )
    return dumped


def restore_before_data(
    copying: Restoring,
    *,
    wanted: Sequence[int] = (),
    made: Callable[[frozenset[int]], None] | None = None,
) -> None:
    """Create everything up to the empty tables.

    What is there under the same names is dropped first where the user said so, or where an
    interrupted run of this migration left a part of it; with the tables goes what was noted of
    their rows. Otherwise some of the tables whose source's oids are ``wanted`` are created first
    where there are many, and ``made`` is called with theirs in between: from then on nothing else
    locks them.
    """
    replacing = replaces(copying) or copying.is_done(RESTORING)
    copying.mark_done(RESTORING)
    in_use = _drop_replaced(copying) if replacing else frozenset()
    listed = before_data(copying)
    entries = [
        entry
        for entry, taken in listed
        if taken and not (entry.kind == "SCHEMA" and entry.name in in_use)
    ]
    if copying.options.requirements is not None:
        entries = _with_required_extensions(copying, entries)
    entries = _without_homes(copying, entries)
    if made is not None and len(wanted) >= _MANY_TABLES and not replacing:
        of_extensions = [entry for entry, _ in listed if entry.kind == "EXTENSION"]
        halves = _choose_ahead(copying, entries, of_extensions, wanted)
        _restore_before_data(copying, halves.first, "first.list", replacing=False)
        made(halves.tables)
        entries = list(halves.rest)
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
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Yield what tells that a child is to end; that it ended so is then no failure of its own.

    A terminal sends Ctrl-C to the children as well.
    """
    try:
        yield signals.stop_requested
    except ExternalToolError:
        signals.raise_if_stopped()
        raise


@contextmanager
def _writing(run: Restoring) -> Iterator[ChildAccess]:
    """Yield how pg_restore reaches the target; what it made is on disk when the block is left."""
    with child_environment(run.target, run.work.path, durable=False) as access:
        yield access
    make_durable(run.target)


def _restore_before_data(
    run: Restoring, entries: Sequence[TocEntry], list_name: str, *, replacing: bool
) -> None:
    with _writing(run) as access, _stoppable() as stopping:
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
    entries = [entry for entry in remaining if _group(entry) is what]
    jobs = _restore_jobs(copying, len(entries))
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
    with _writing(copying) as access, _stoppable() as stopping:
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
    return [(entry, entry.dump_id not in filtered and not left_out(entry)) for entry in entries]


def after_data(run: Restoring) -> list[TocEntry]:
    """Return the entries of the post-data section."""
    return _after_data(run, read_dumped(run.work))


def _after_data(run: Restoring, dumped: Dumped) -> list[TocEntry]:
    before = _entries(run, dumped, Section.PRE_DATA)
    schemas = [entry.name for entry in before if entry.kind == "SCHEMA"]
    return _entries(run, dumped, Section.POST_DATA, schemas)


def _entries(
    run: Restoring, dumped: Dumped, section: Section, schemas: Iterable[str] = ()
) -> list[TocEntry]:
    """Return the entries of a section; a name with a space is read right only where it is known."""
    owners = dumped.spaced_roles
    return list_archive(run.tools, run.archive, section=section, schemas=schemas, owners=owners)


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
    return [
        entry
        for entry in _after_data(copying, dumped)
        # An INDEX ATTACH has no oid of its own; it is part of building the indexes.
        if (built is None or entry.kind != "INDEX ATTACH")
        and entry.object_key not in own
        and entry.dump_id not in filtered
    ]


def _own_publications(work: WorkDirectory, session: Session) -> tuple[tuple[int, int], ...]:
    """Return catalog and oid of the capture's publications, and of each table in them."""
    header = work.header()
    if header is None or header.publication is None:
        return ()
    names = [header.publication, f"{header.publication}_insert"]
    rows = session.execute(_OWN_PUBLICATIONS, {"names": names})
    return tuple((row[0], row[1]) for row in rows)


def _filtered(run: Restoring, dumped: Dumped) -> frozenset[int]:
    """Return the entries of the dump that the filters leave out."""
    if not dumped.left_out:
        return frozenset()
    every = list_archive(run.tools, run.archive, dependencies=True)
    return ids_of(every, frozenset(dumped.left_out), frozenset(dumped.unowned))


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


_OWN_PUBLICATIONS: Final = (
    "select 'pg_catalog.pg_publication'::regclass::oid::bigint, p.oid::bigint"
    " from pg_catalog.pg_publication as p where p.pubname = any (%(names)s)"
    " union all"
    " select 'pg_catalog.pg_publication_rel'::regclass::oid::bigint, r.oid::bigint"
    " from pg_catalog.pg_publication_rel as r"
    " join pg_catalog.pg_publication as p on p.oid = r.prpubid where p.pubname = any (%(names)s)"
)

# As pg_restore prints names, where a line break is a space.
_SPACED_ROLES: Final = "select rolname::text from pg_catalog.pg_roles where rolname ~ '[ \\n\\r]'"

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


class Relation(Struct, frozen=True, order=True):
    """A table, view, materialised view or foreign table; ``kind`` is pg_class.relkind."""

    kind: str
    schema: str
    name: str

    @property
    def is_locked(self) -> bool:
        """Whether pg_dump locks it to read its definition."""
        return self.kind in {"r", "p"}


def _drop_replaced(copying: Restoring) -> frozenset[str]:
    """Drop from the target the relations that both sides have, and what would hold them back.

    Returns the schemas that hold other relations, and stay as they are.

    pg_restore drops object by object in the order of the archive; foreign keys, and views that the
    archive makes after the data, would stop it. Nothing that only the target has is dropped.
    """
    target = copying.target
    dumped = read_dumped(copying.work)
    replaced = {(relation.schema, relation.name) for relation in dumped.relations}
    entries = _entries(copying, dumped, Section.POST_DATA)
    filtered = _filtered(copying, dumped)
    with connect(target, purpose="clone") as other, reporting(target, "dropping what is replaced"):
        _drop_unqualified(other, (one for one in entries if one.dump_id not in filtered))
        _drop_keys_to(other, replaced)
        common = [one for one in list_relations(other) if (one.schema, one.name) in replaced]
        _drop_relations(other, common)
        # Not before: a lane of that run which was just committing held its table until it was done.
        helper_schema.forget_parts(other, copying.header.run_id)
        return frozenset(one.schema for one in list_relations(other))


def list_relations(connection: Session) -> list[Relation]:
    """Return every relation that a schema dump holds, but for indexes and sequences."""
    return [Relation(*row) for row in connection.execute(_RELATIONS)]


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


def _drop_relations(connection: Session, relations: Iterable[Relation]) -> None:
    """Drop ``relations``, those that others depend on after these; views come first."""
    waiting = sorted(relations, key=lambda one: (one.kind not in {"v", "m"}, one))
    while waiting:
        held: list[Relation] = []
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
