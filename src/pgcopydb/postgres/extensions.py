"""Extensions: created in a version of one's choice, and the rows that users put into their tables.

What an extension creates is never copied: the target's own files make it. Only tables that the
extension marks as its users' (pg_extension_config_dump) have rows to copy, those that meet its
condition; as pg_dump does, which leaves them out of a dump of the schema.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct
from psycopg import Connection, sql

from pgcopydb.errors import ConfigurationError, some_of
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.objects import Extension
from pgcopydb.postgres import discover
from pgcopydb.postgres.connect import reporting
from pgcopydb.sql.quote import column_list, qualified_name

log = logging.getLogger(__name__)

Session = Connection[tuple[Any, ...]]

_SCHEMA_IS_THERE: Final = "select from pg_catalog.pg_namespace where nspname = %s"


class Configuration(Struct, frozen=True, kw_only=True):
    """A table, or a sequence, of an extension that is configured by the extension's users.

    ``condition`` is empty or begins with WHERE: text of the catalogue that the extension wrote.
    """

    extension: str
    schema: str
    name: str
    is_sequence: bool
    condition: str
    columns: tuple[str, ...]


def create_extensions(
    target: Endpoint,
    connection: Session,
    extensions: Iterable[Extension],
    versions: Mapping[str, str],
) -> list[str]:
    """Create those of ``extensions`` that the target lacks, in ``versions`` or by default.

    One that is there in another version than the one asked for is brought to it. Schemas are made
    where need be. Returns what was created or changed, each as ``name version``. Raises
    ConfigurationError for a version that the target does not offer, the target's error where the
    role may not.
    """
    wanted = sorted(extensions, key=lambda one: one.oid)  # one is older than those that need it
    with reporting(target, "reading the extensions"):
        present = {one.name: one.version for one in discover.list_extensions(connection)}
        offered = discover.list_extension_versions(connection)
    _refuse_unknown_versions(versions, {(one.name, one.version) for one in offered})
    changed = []
    for extension in wanted:
        version = versions.get(extension.name)
        if extension.name not in present:
            _create(target, connection, extension, version)
        elif version not in {None, present[extension.name]}:
            _update(target, connection, extension, version or "")
        else:
            continue
        changed.append(f"{extension.name} {version or ''}".rstrip())
    return changed


def configurations(endpoint: Endpoint, connection: Session) -> list[Configuration]:
    """Return the tables and sequences of extensions that users fill; raises the side's error."""
    with reporting(endpoint, "reading the tables of extensions"):
        return [
            Configuration(**record)
            for record in discover.records(connection, "extension_configuration")
        ]


def copy_configurations(
    wanted: Iterable[Configuration],
    source: Endpoint,
    reading: Session,
    target: Endpoint,
    writing: Session,
) -> int:
    """Copy the rows that users put into the tables of extensions; return how many.

    ``reading`` has the snapshot. Rows of the target's tables that meet the condition of the
    target's own extension are replaced, so that a repeated copy ends where the first one did.
    Raises the side's error, ConfigurationError where the target lacks such a table.
    """
    ours = {(one.schema, one.name): one for one in wanted}
    theirs = {(one.schema, one.name): one for one in configurations(target, writing)}
    missing = [".".join(name) for name in ours if name not in theirs]
    if missing:
        raise ConfigurationError(
            f"target: tables of extensions, to be filled, are not there: {some_of(missing)}",
            hint="create the extensions in the same versions (--requirements), or leave them out"
            " with --filters",
        )
    rows = 0
    for name, one in ours.items():
        place = f"{one.schema}.{one.name} of extension {one.extension}"
        with reporting(target, f"copying {place}"), writing.transaction():
            if one.is_sequence:
                _set_sequence(source, reading, writing, one)
            else:
                rows += _replace_rows(reading, writing, one, theirs[name])
    return rows


def _create(
    target: Endpoint, connection: Session, extension: Extension, version: str | None
) -> None:
    statement = sql.SQL("create extension {} with schema {}").format(
        sql.Identifier(extension.name), sql.Identifier(extension.schema)
    )
    if version is not None:
        statement += sql.SQL(" version {}").format(version)
    with reporting(target, f'creating extension "{extension.name}"'), connection.transaction():
        if connection.execute(_SCHEMA_IS_THERE, (extension.schema,)).rowcount == 0:
            connection.execute(sql.SQL("create schema {}").format(sql.Identifier(extension.schema)))
        connection.execute(statement)


def _update(target: Endpoint, connection: Session, extension: Extension, version: str) -> None:
    with reporting(target, f'bringing extension "{extension.name}" to version {version}'):
        connection.execute(
            sql.SQL("alter extension {} update to {}").format(
                sql.Identifier(extension.name), version
            )
        )


def _refuse_unknown_versions(versions: Mapping[str, str], offered: set[tuple[str, str]]) -> None:
    for name, version in versions.items():
        if (name, version) in offered:
            continue
        others = sorted(known for extension, known in offered if extension == name)
        raise ConfigurationError(
            f'target: there is no version {version} of extension "{name}"'
            + (f", only {some_of(others)}" if others else ""),
            hint="correct the file given as --requirements, or install that version on the target",
        )


def _replace_rows(
    reading: Session, writing: Session, ours: Configuration, theirs: Configuration
) -> int:
    """Copy the rows of one table. Each condition is run on the side whose catalogue holds it."""
    table, columns = qualified_name(ours.schema, ours.name), column_list(ours.columns)
    writing.execute(f"delete from only {table} {theirs.condition}".encode())
    out = f"copy (select {columns} from only {table} {ours.condition}) to stdout"
    into = f"copy {table} ({columns}) from stdin"
    with reading.cursor() as one, writing.cursor() as other:
        with one.copy(out.encode()) as chunks, other.copy(into.encode()) as rows:
            for chunk in chunks:
                rows.write(chunk)
        return other.rowcount


def _set_sequence(source: Endpoint, reading: Session, writing: Session, one: Configuration) -> None:
    name = sql.Identifier(one.schema, one.name)
    with reporting(source, f"reading {one.schema}.{one.name}"):
        row = reading.execute(
            sql.SQL("select last_value, is_called from {}").format(name)
        ).fetchone()
    assert row is not None
    writing.execute(
        "select pg_catalog.setval(%s::pg_catalog.regclass, %s, %s)",
        (qualified_name(one.schema, one.name), *row),
    )
