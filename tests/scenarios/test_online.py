"""Whole migrations while the application writes: the promise of this program, end to end."""

import pytest

from tests.scenarios.migration import Migration
from tests.support.workload import APPLICATION


@pytest.mark.parametrize(
    ("source_target", "plugin"),
    [
        pytest.param((source, target, APPLICATION), plugin, id=f"{source}-{target}-{plugin}")
        for source, target, plugin in (
            (15, 15, "pgoutput"),
            (15, 15, "test_decoding"),
            (15, 15, "wal2json"),
            (15, 18, "pgoutput"),
            (15, 18, "test_decoding"),
            (15, 18, "wal2json"),
            (16, 18, "pgoutput"),
        )
    ],
    indirect=["source_target"],
)
def test_clone_and_follow(migration: Migration, plugin: str) -> None:
    migration.plugin = plugin
    migration.clone_and_follow()
    migration.judge()
