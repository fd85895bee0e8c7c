"""The foreign keys of a base copy, which come last."""

from collections.abc import Mapping
from typing import Final

from pgcopydb.clone.context import FOREIGN_KEYS
from pgcopydb.clone.planning.jobs import ForeignKey, encode
from pgcopydb.model.objects import Constraint, ServerFacts, Table, TableKind
from pgcopydb.sql import ddl
from pgcopydb.workdir.jobs import NewJob

_FIRST_NOT_VALID_ON_PARTITIONED_VERSION: Final = 180000


def foreign_key_job(
    key: Constraint, known: Mapping[int, Table], target: ServerFacts, *, gapped: bool
) -> NewJob:
    """Return the job that makes ``key``, of the tables ``known`` by oid.

    ``gapped`` says that filters leave out rows of the table that it refers to.
    """
    table = known[key.table_oid]
    assert key.referenced_oid is not None
    referenced = known[key.referenced_oid]
    checked_here = not key.definition.endswith(ddl.NOT_VALID) and key.is_validated
    always_checked = (
        table.kind is TableKind.PARTITIONED
        and target.version_num < _FIRST_NOT_VALID_ON_PARTITIONED_VERSION
    )
    return NewJob(
        pool=FOREIGN_KEYS,
        kind="foreign key",
        unit=f"foreign key {key.oid}",
        oid=key.table_oid,
        schema=key.table_schema,
        name=key.name,
        weight=table.bytes,
        parameters=encode(
            ForeignKey(
                schema=key.table_schema,
                table=key.table_name,
                name=key.name,
                create=ddl.add_foreign_key(key),
                create_not_valid=(
                    None if always_checked else ddl.add_foreign_key(key, not_valid=True)
                ),
                lock=ddl.lock_for_foreign_key(
                    [(table.schema, table.name), (referenced.schema, referenced.name)]
                ),
                validate=ddl.validate_constraint(key.table_schema, key.table_name, key.name)
                if checked_here
                else None,
                is_gapped=gapped,
                oid=key.oid,
            )
        ),
    )
