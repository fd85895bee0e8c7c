"""Statements that build what pg_dump keeps for after the data: indexes, constraints, statistics.

Definitions come from the source's own ``pg_get_indexdef`` and ``pg_get_constraintdef``, read with
an empty search_path, so every name in them is qualified and quoted. The same is told to pg_dump by
the entries of its archive; taking them from the catalogue is what allows building each one as soon
as its table is complete.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from pgcopydb.model.objects import Constraint, ConstraintKind, Grant, Index
from pgcopydb.sql.quote import qualified_name, quote_identifier, quote_literal


def is_built_as_index(index: Index) -> bool:
    """Tell whether CREATE INDEX makes it; else only its constraint can.

    An exclusion constraint, or a key WITHOUT OVERLAPS, takes no ready index, and neither does a
    key of a partitioned table.
    """
    if index.constraint_oid is None:
        return True
    return not index.is_exclusion and not index.is_partitioned


def add_constraint_clause(index: Index) -> str:
    """Return the ``ADD CONSTRAINT`` clause of the constraint that ``index`` serves."""
    name = quote_identifier(index.constraint_name or index.name)
    if not is_built_as_index(index):
        return f"ADD CONSTRAINT {name} {index.constraint_definition}"
    kind = "PRIMARY KEY" if index.constraint_kind is ConstraintKind.PRIMARY_KEY else "UNIQUE"
    clause = f"ADD CONSTRAINT {name} {kind} USING INDEX {quote_identifier(index.name)}"
    if index.constraint_deferrable:
        clause += " DEFERRABLE"
    if index.constraint_deferred:
        clause += " INITIALLY DEFERRED"
    return clause


def alter_table_only(schema: str, table: str, clauses: Iterable[str]) -> str:
    """Return one ALTER TABLE ONLY with all ``clauses``, so that the table is locked once."""
    return f"ALTER TABLE ONLY {qualified_name(schema, table)} {', '.join(clauses)}"


def index_properties(index: Index) -> list[str]:
    """Return the statements that set what CREATE INDEX cannot say."""
    table = qualified_name(index.table_schema, index.table_name)
    name = quote_identifier(index.name)
    statements = [
        f"ALTER INDEX {qualified_name(index.schema, index.name)}"
        f" ALTER COLUMN {column:d} SET STATISTICS {target:d}"
        for column, target in index.statistics
    ]
    if index.is_replica_identity:
        statements.append(f"ALTER TABLE ONLY {table} REPLICA IDENTITY USING INDEX {name}")
    if index.is_clustered:
        statements.append(f"ALTER TABLE {table} CLUSTER ON {name}")
    return statements


def in_tablespace(tablespace: str | None, statement: str) -> list[str]:
    """Return ``statement`` so that what it makes lies in ``tablespace``; None: the default."""
    if tablespace is None:
        return [statement]
    return [
        f"SET LOCAL default_tablespace = {quote_identifier(tablespace)}",
        statement,
        "SET LOCAL default_tablespace = ''",
    ]


def attach_index(parent: Index, child: Index) -> str:
    """Return the statement that makes ``child`` a partition of ``parent``."""
    return (
        f"ALTER INDEX {qualified_name(parent.schema, parent.name)}"
        f" ATTACH PARTITION {qualified_name(child.schema, child.name)}"
    )


def add_foreign_key(constraint: Constraint, *, not_valid: bool = False) -> str:
    """Return the statement that creates a foreign key, with its rows checked or not.

    On a partitioned table it reaches all partitions.
    """
    suffix = "" if constraint.definition.endswith(NOT_VALID) or not not_valid else NOT_VALID
    return (
        f"ALTER TABLE {qualified_name(constraint.table_schema, constraint.table_name)}"
        f" ADD CONSTRAINT {quote_identifier(constraint.name)} {constraint.definition}{suffix}"
    )


NOT_VALID = " NOT VALID"
"""How the definition of a constraint ends whose rows were never checked."""


def validate_constraint(schema: str, table: str, name: str) -> str:
    """Return the statement that checks the rows under a constraint, which blocks no writes."""
    return (
        f"ALTER TABLE {qualified_name(schema, table)} VALIDATE CONSTRAINT {quote_identifier(name)}"
    )


def lock_for_foreign_key(tables: Sequence[tuple[str, str]]) -> str:
    """Return the statement that takes the locks of ALTER TABLE ... ADD FOREIGN KEY in one order.

    Two that are created at once between the same tables would otherwise wait for each other.
    """
    names = ", ".join(f"ONLY {qualified_name(*table)}" for table in sorted(set(tables)))
    return f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"


COUNT_DATABASE: Final = "VACUUM (ONLY_DATABASE_STATS)"
"""Does once, from server 16 on, what is left out of each VACUUM by ``of_database``."""


def vacuum(
    schema: str, table: str, *, analyze: bool, only: bool = False, of_database: bool = True
) -> str:
    """Return the VACUUM of one table, with statistics or without; ``only`` as for ``analyze``.

    With ``of_database`` it looks for the oldest transaction of the whole database afterwards, which
    servers before 16 always do: they read all of pg_class for it, one VACUUM after the other.
    """
    options = [
        word
        for word, chosen in (("ANALYZE", analyze), ("SKIP_DATABASE_STATS", not of_database))
        if chosen
    ]
    given = f" ({', '.join(options)})" if options else ""
    return f"VACUUM{given} {_only(only)}{qualified_name(schema, table)}"


def analyze(schema: str, table: str, *, only: bool = False) -> str:
    """Return the ANALYZE of one table.

    ``only`` leaves out the tables below it. A server from 18 on goes through them otherwise, one
    before it does not know the word, and goes through partitions.
    """
    return f"ANALYZE {_only(only)}{qualified_name(schema, table)}"


def _only(only: bool) -> str:
    return "ONLY " if only else ""


def refresh(schema: str, name: str) -> str:
    """Return the statement that fills a materialised view."""
    return f"REFRESH MATERIALIZED VIEW {qualified_name(schema, name)}"


def comment_on_large_object(oid: int, comment: str) -> str:
    """Return the statement that sets the comment of a large object."""
    return f"COMMENT ON LARGE OBJECT {oid:d} IS {quote_literal(comment)}"


def large_object_privileges(
    oids: Iterable[int], owner: str | None, grants: Iterable[Grant]
) -> list[str]:
    """Return the statements that leave ``grants``, and no others, on new large objects.

    They are run by the owner. With ``owner`` None, who is then not told apart from the role that
    runs them, all is granted by that role; else each privilege by the role that gave it.
    """
    objects = ", ".join(f"{oid:d}" for oid in oids)
    statements = [f"REVOKE ALL ON LARGE OBJECT {objects} FROM CURRENT_USER"]
    # The owner's first: another role can hand on only what it was given.
    ordered = sorted(grants, key=lambda grant: grant.grantor != owner)
    for grantor, given in groupby(ordered, key=lambda grant: grant.grantor):
        foreign = owner is not None and grantor != owner
        if foreign:
            statements.append(f"SET LOCAL ROLE {quote_identifier(grantor)}")
        statements += [_grant_on_large_objects(objects, grant) for grant in given]
        if foreign:
            statements.append(f"SET LOCAL ROLE {quote_identifier(owner or grantor)}")
    return statements


def _grant_on_large_objects(objects: str, grant: Grant) -> str:
    grantee = "PUBLIC" if grant.grantee is None else quote_identifier(grant.grantee)
    option = " WITH GRANT OPTION" if grant.grantable else ""
    return f"GRANT {grant.privilege} ON LARGE OBJECT {objects} TO {grantee}{option}"
