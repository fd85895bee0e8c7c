"""What is read whole on both sides at the end of a follow, whatever its values are."""

from collections.abc import Sequence
from typing import Any

import pytest

from pgcopydb.cdc import whole_tables
from pgcopydb.cdc.targets import read_target_tables
from pgcopydb.cdc.whole_tables import Name, find_differences
from pgcopydb.errors import PgcopydbError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.postgres.connect import connect
from pgcopydb.postgres.digest import RowTooLongError, TableDigest, table_digest
from pgcopydb.postgres.discover import list_tables
from pgcopydb.sql.digest import ComparedColumn, ValueForm
from tests.support.servers import Database, SourceTarget

SCHEMA = """
create table item (id integer, price numeric, code "char", body bytea);
insert into item select g, g / 7.0, (g - 129)::"char", sha256(g::text::bytea)
  from generate_series(1, 256) g;
create table other as select * from item;
"""


def different(pair: SourceTarget) -> dict[Name, str]:
    source, target = pair.source.endpoint(Side.SOURCE), pair.target.endpoint(Side.TARGET)
    with connect(source, purpose="test") as session:
        tables = list_tables(session)
    names = [(table.schema, table.name) for table in tables]
    return find_differences(source, target, tables, names, followed=())


@pytest.mark.parametrize("source_target", [(15, 18, SCHEMA), (16, 18, SCHEMA)], indirect=True)
def test_equal_tables_are_equal_in_all_values(source_target: SourceTarget) -> None:
    """Servers before 16 print a "char" beyond ASCII as it is, later ones in octal."""
    source_target.target.execute(SCHEMA)
    assert different(source_target) == {}
    source_target.target.execute("update item set code = 'x' where id = 3")
    assert different(source_target) == {("public", "item"): "its 256 rows are not the same"}


def test_bytes_in_no_encoding_are_read_as_they_are(source_target: SourceTarget) -> None:
    """As ``compare data`` does: a session in UTF8 refuses to print them."""
    pair = source_target
    for database in (pair.source, pair.target):
        database.execute(
            f"create database {database.name}_raw encoding 'SQL_ASCII' locale 'C'"
            " template template0"
        )
    raw = [Database(one.cluster, f"{one.name}_raw") for one in (pair.source, pair.target)]
    for database in raw:
        with database.connect(client_encoding="SQL_ASCII") as connection:
            connection.execute(b"create table note (t text); insert into note values ('\xe9\xff')")
    assert different(SourceTarget(*raw)) == {}
    with raw[1].connect(client_encoding="SQL_ASCII") as connection:
        connection.execute(b"update note set t = '\xe9\xfe'")
    assert different(SourceTarget(*raw)) == {("public", "note"): "its 1 rows are not the same"}


@pytest.mark.parametrize("side", list(Side))
def test_a_view_that_takes_a_tables_place_is_not_read(
    source_target: SourceTarget, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would run its owner's code with the rights of the role that looks."""
    pair = source_target
    database = pair.source if side is Side.SOURCE else pair.target
    for one in (pair.source, pair.target):
        one.execute(SCHEMA)

    def tables_then_a_view(*arguments: Any) -> Any:
        tables = read_target_tables(*arguments)
        database.execute("drop table item; create view item as select * from other")
        return tables

    monkeypatch.setattr(whole_tables, "read_target_tables", tables_then_a_view)
    with pytest.raises(PgcopydbError, match=f"{side}: reading public.item .* to non-system view"):
        different(pair)


@pytest.mark.parametrize("source_target", [(16, 18, SCHEMA)], indirect=True)
@pytest.mark.parametrize("sides", [(Side.SOURCE,), (Side.TARGET,), tuple(Side)], ids="+".join)
def test_rows_too_long_for_one_text_are_read_value_by_value(
    source_target: SourceTarget, sides: tuple[Side, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On both sides, wherever one is; the tables that come after it as ever."""
    read: list[ValueForm] = []

    def digest(
        session: Any, endpoint: Endpoint, name: Name, columns: Sequence[ComparedColumn], **more: Any
    ) -> TableDigest:
        read.append(columns[0].form)
        if name[1] == "item" and endpoint.side in sides and columns[0].form is ValueForm.PLAIN:
            raise RowTooLongError
        return table_digest(session, endpoint, name, columns, **more)

    monkeypatch.setattr(whole_tables, "table_digest", digest)
    source_target.target.execute(SCHEMA)
    assert different(source_target) == {}
    assert read == [ValueForm.PLAIN] * 2 + [ValueForm.LONG] * 2 + [ValueForm.PLAIN] * 2
    source_target.target.execute("update item set price = 1 where id = 3; delete from other")
    assert different(source_target) == {
        ("public", "item"): "its 256 rows are not the same",
        ("public", "other"): "256 rows on the source, 0 on the target",
    }
