"""What ``pgcopydb check`` finds between 15 and 18; ``campaign/check_versions.py`` has others."""

from pathlib import Path

import pytest

from tests.support.commands import Pgcopydb
from tests.support.servers import SourceTarget
from tests.support.version_differences import (
    LOST_AFTER_15,
    MADE_SINCE_18,
    assert_lost_names_are_found,
    assert_new_features_are_found,
)


@pytest.mark.parametrize("source_target", [(15, 18)], indirect=True)
def test_what_uses_what_later_versions_do_not_have(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    assert_lost_names_are_found(source_target, 18, LOST_AFTER_15, pgcopydb_command, tmp_path)


@pytest.mark.parametrize("source_target", [(18, 15)], indirect=True)
def test_what_older_versions_cannot_make(
    source_target: SourceTarget, pgcopydb_command: Pgcopydb, tmp_path: Path
) -> None:
    assert_new_features_are_found(source_target, 15, MADE_SINCE_18, pgcopydb_command, tmp_path)
