"""The recorded changes become the recorded SQL, directly and by way of JSON lines.

The files are made by ``python -m tests.golden.sql_forms``.
"""

import pytest

from pgcopydb.model.options import Plugin
from tests.golden import forms, sql_forms

PLUGINS = pytest.mark.parametrize("plugin", list(Plugin))


def golden(plugin: Plugin) -> list[bytes]:
    return (forms.HERE / f"{plugin}.sql").read_bytes().split(b"\n")


@PLUGINS
def test_changes_become_sql(plugin: Plugin) -> None:
    changes = (change for _, change in sql_forms.projected(plugin))
    assert sql_forms.sql_bytes(changes).split(b"\n") == golden(plugin)


@PLUGINS
def test_json_lines_become_the_same_sql(plugin: Plugin) -> None:
    changes = sql_forms.read_back(sql_forms.json_lines(plugin))
    assert sql_forms.sql_bytes(changes).split(b"\n") == golden(plugin)


def test_the_plugins_give_the_same_sql() -> None:
    assert statements(Plugin.TEST_DECODING) == statements(Plugin.PGOUTPUT)
    # wal2json 2.5 prints NaN and infinities as null, and does not tell how a TRUNCATE was told
    differing = {
        theirs.split(b" ")[0]
        for ours, theirs in zip(
            statements(Plugin.PGOUTPUT), statements(Plugin.WAL2JSON), strict=True
        )
        if ours != theirs and b'"specials"' not in ours
    }
    assert differing == {b"TRUNCATE"}


def statements(plugin: Plugin) -> list[bytes]:
    return [line for line in golden(plugin) if not line.startswith((b"BEGIN", b"COMMIT"))]
