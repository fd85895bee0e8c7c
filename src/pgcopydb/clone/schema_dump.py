"""The schema dump of a work directory: made by pg_dump, and what is known of it beside.

The archive itself says neither who wrote it, nor what the filters leave out of it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

from msgspec import Struct
from psycopg import Connection

from pgcopydb.clone.context import archive
from pgcopydb.errors import ExternalToolError, StateError
from pgcopydb.model.access import ChildAccess
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Extension, ServerFacts
from pgcopydb.pgtools.dump import LOCK_WAIT, dump_schema
from pgcopydb.pgtools.files import checksum_of
from pgcopydb.pgtools.find import Tools
from pgcopydb.pgtools.restore import check_archive
from pgcopydb.postgres import discover
from pgcopydb.postgres.children import child_environment
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.snapshot import count_lockable, import_snapshot, lock_refused
from pgcopydb.rules.selection import Selection
from pgcopydb.runtime import signals
from pgcopydb.workdir.directory import WorkDirectory
from pgcopydb.workdir.store import read_fact, write_fact

Session = Connection[tuple[Any, ...]]

_DUMPED: Final = "schema dumped"


_LOCKED_A_SECOND: Final = 2_000
"""Tables that a busy server locks in a second at least. pg_dump's limit is of a statement, and a
single one locks all partitions of a table: 100,000 took more than five seconds."""


_OWN_PUBLICATIONS: Final = (
    "select 'pg_catalog.pg_publication'::regclass::oid::bigint, p.oid::bigint"
    " from pg_catalog.pg_publication as p where p.pubname = any (%(names)s)"
    " union all"
    " select 'pg_catalog.pg_publication_rel'::regclass::oid::bigint, r.oid::bigint"
    " from pg_catalog.pg_publication_rel as r"
    " join pg_catalog.pg_publication as p on p.oid = r.prpubid where p.pubname = any (%(names)s)"
)


_PARTITION_TRIGGERS: Final = (
    "select 'pg_catalog.pg_trigger'::regclass::oid::bigint, t.oid::bigint"
    " from pg_catalog.pg_depend as d"
    " join pg_catalog.pg_trigger as t on t.oid = d.objid"
    " join pg_catalog.pg_trigger as p on p.oid = d.refobjid"
    " where d.classid = 'pg_catalog.pg_trigger'::regclass and d.refclassid = d.classid"
    " and t.tgenabled <> p.tgenabled"
    " order by (select count(*) from pg_catalog.pg_partition_ancestors(t.tgrelid)), t.oid"
)


_SPACED_ROLES: Final = "select rolname::text from pg_catalog.pg_roles where rolname ~ '[ \\n\\r]'"

_FIRST_OWNS_PUBLIC: Final = (
    "select from pg_catalog.pg_namespace as n where n.nspname = 'public' and n.nspowner = 10"
)

_RELATIONS: Final = (
    "select c.relkind::text, n.nspname::text, c.relname::text"
    " from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace"
    " where c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relpersistence <> 't'"
    " and n.nspname not in ('pg_catalog', 'information_schema', 'pgcopydb')"
    " and n.nspname !~ '^pg_(toast|temp_|toast_temp_)'"
    " and not exists (select from pg_catalog.pg_depend as e"
    "  where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')"
)


class Relation(Struct, frozen=True, order=True, gc=False):
    """A table, view, materialised view or foreign table; ``kind`` is pg_class.relkind."""

    kind: str
    schema: str
    name: str

    @property
    def is_locked(self) -> bool:
        """Whether pg_dump locks it to read its definition."""
        return self.kind in {"r", "p"}


class Dumped(Struct, frozen=True, kw_only=True):
    """What is known of the schema dump of a work directory: who wrote it, and what is in it."""

    source_version_num: int
    relations: tuple[Relation, ...]
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
    first_owns_public: bool = False
    """Whether the schema public is the first superuser's, as it was made before 15."""
    partition_triggers: tuple[tuple[int, int], ...] = ()
    """Catalog and oid of those that are not enabled as their parent's, from the top down."""


class Dumpable(Struct, frozen=True, kw_only=True):
    """What the source has, as a snapshot shows it, that has to be known beside its dump."""

    relations: tuple[Relation, ...]
    extensions: tuple[Extension, ...]
    publications: tuple[tuple[int, int], ...]
    spaced_roles: tuple[str, ...]
    first_owns_public: bool
    partition_triggers: tuple[tuple[int, int], ...]


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
            first_owns_public=session.execute(_FIRST_OWNS_PUBLIC).rowcount > 0,
            partition_triggers=tuple(
                (row[0], row[1]) for row in session.execute(_PARTITION_TRIGGERS)
            ),
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
    with stoppable() as stop_requested:
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
            first_owns_public=found.first_owns_public,
            partition_triggers=found.partition_triggers,
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


def list_relations(connection: Session) -> list[Relation]:
    """Return every relation that a schema dump holds, but for indexes and sequences."""
    return [Relation(*row) for row in connection.execute(_RELATIONS)]


def _own_publications(work: WorkDirectory, session: Session) -> tuple[tuple[int, int], ...]:
    """Return catalog and oid of the capture's publications, and of each table in them."""
    header = work.header()
    if header is None or header.publication is None:
        return ()
    names = [header.publication, f"{header.publication}_insert"]
    rows = session.execute(_OWN_PUBLICATIONS, {"names": names})
    return tuple((row[0], row[1]) for row in rows)


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Yield what tells that a child is to end; that it ended so is then no failure of its own.

    A terminal sends Ctrl-C to the children as well.
    """
    try:
        yield signals.stop_requested
    except ExternalToolError:
        signals.raise_if_stopped()
        raise
