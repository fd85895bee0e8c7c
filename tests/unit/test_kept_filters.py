"""Filters of one command stay in force for the later ones of its migration."""

from pathlib import Path

import pytest

from pgcopydb.errors import ConfigurationError, StateError
from pgcopydb.model.filters import EVERYTHING
from pgcopydb.model.options import WorkOptions
from pgcopydb.workdir.directory import WorkDirectory, open_directory
from pgcopydb.workdir.filters import effective_filters, keep_filters
from pgcopydb.workdir.store import RunHeader, write_header


@pytest.fixture
def work(tmp_path: Path) -> WorkDirectory:
    with open_directory(WorkOptions(directory=tmp_path / "work"), command="list tables") as found:
        return found


def begin(work: WorkDirectory) -> None:
    with work.store() as store:
        write_header(store, RunHeader(run_id="r", snapshot="0-1"))


def test_they_are_kept_and_must_stay_the_same(work: WorkDirectory, tmp_path: Path) -> None:
    first, same, other = (tmp_path / name for name in ("first", "same", "other"))
    first.write_text("[exclude-table]\npublic.t\n")
    same.write_text('# moved\n\n[exclude-table]\n"public".T')
    other.write_text("[exclude-table]\npublic.u")
    assert effective_filters(work, None) is EVERYTHING
    filters = effective_filters(work, first)
    assert not filters.selects_table("public", "t")
    keep_filters(work, first, filters)
    assert not effective_filters(work, other).selects_table("public", "u")  # nothing is begun yet
    begin(work)
    assert effective_filters(work, None) == filters
    assert effective_filters(work, same) == filters
    keep_filters(work, None, EVERYTHING)
    with pytest.raises(StateError, match=r"begun with the filters of .*first, and .*other says"):
        effective_filters(work, other)


def test_none_at_the_beginning_is_a_choice_too(work: WorkDirectory, tmp_path: Path) -> None:
    file, empty = tmp_path / "f", tmp_path / "e"
    file.write_text("[exclude-table]\npublic.t\n")
    empty.write_text("# all of it\n")
    begin(work)
    assert effective_filters(work, empty) is EVERYTHING
    with pytest.raises(StateError, match="begun without filters"):
        effective_filters(work, file)


def test_what_cannot_be_read_is_said(work: WorkDirectory, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing cannot be read: No such file"):
        effective_filters(work, tmp_path / "missing")
    with pytest.raises(ConfigurationError, match=r"cannot be read: Is a directory"):
        effective_filters(work, tmp_path)
    (tmp_path / "latin1").write_bytes(b"[exclude-schema]\n\xfc")
    with pytest.raises(ConfigurationError, match=r"not text in UTF-8 \(byte 17\)"):
        effective_filters(work, tmp_path / "latin1")
