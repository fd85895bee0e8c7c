"""A follow while the clock of its machine jumps, as every library of its processes sees it.

Needs a C compiler. One in which Python alone sees the jumps is part of ``make test``.
"""

from pathlib import Path

import pytest

from tests.support.clock_jumps import follow_while_the_clock_jumps, library_clock
from tests.support.steps import Stream


@pytest.mark.parametrize(
    ("source_target", "plugin"),
    [((15, 18), plugin) for plugin in ("pgoutput", "wal2json", "test_decoding")],
    indirect=["source_target"],
)
def test_the_clock_of_all_libraries_jumps(stream: Stream, tmp_path: Path) -> None:
    follow_while_the_clock_jumps(stream, *library_clock(tmp_path))
