"""``--restart``: what a previous run left is gone when the new one has begun, and not before."""

from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from pgcopydb.errors import SourceError, StateError
from pgcopydb.model.options import WorkOptions
from pgcopydb.workdir.directory import attach_directory, open_directory
from pgcopydb.workdir.locks import lock
from pgcopydb.workdir.sentinel import create_sentinel, update_sentinel
from pgcopydb.workdir.store import RunHeader, write_header

CAPTURED = RunHeader(run_id="first", slot_name="mine", slot_created=True, consistent_point=100)
ADOPTED = replace(CAPTURED, slot_created=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "work"


def begin(path: Path, header: RunHeader, *, flushed: int = 100, applied: int = 0) -> None:
    """Leave a capture in ``path``, with a file of stored changes."""
    with open_directory(WorkOptions(directory=path), command="clone --follow") as work:
        with work.store() as store:
            write_header(store, header)
            create_sentinel(store, startpos=100)
            update_sentinel(store, flush_lsn=flushed, replay_lsn=applied)
        (work.cdc / "000000000001.db").write_text("changes")


def run_of(path: Path) -> str | None:
    with attach_directory(WorkOptions(directory=path)) as work:
        header = work.header()
    return None if header is None else header.run_id


def restart(path: Path, command: str, *, fail: bool = False, discard: bool = False) -> None:
    options = WorkOptions(directory=path, restart=True)
    with open_directory(options, command=command) as work:
        assert work.header() is None
        assert [one.run_id for one in work.previous] == ["first"]
        assert list(work.cdc.iterdir()) == []
        if discard:
            work.discard_previous()
        if fail:
            raise SourceError("refused")


def stored(path: Path) -> list[str]:
    return [file.name for file in (path / "cdc").iterdir()]


def test_a_command_that_is_refused_puts_everything_back(path: Path) -> None:
    begin(path, CAPTURED)
    with pytest.raises(SourceError):
        restart(path, "clone --follow", fail=True)
    assert run_of(path) == "first"
    assert stored(path) == ["000000000001.db"]
    assert not (path / "previous-run").exists()


def test_nothing_comes_back_once_it_is_discarded(path: Path) -> None:
    begin(path, CAPTURED)
    with pytest.raises(SourceError):
        restart(path, "clone --follow", fail=True, discard=True)
    assert run_of(path) is None
    assert stored(path) == []


def test_a_command_that_ends_well_removes_the_first_run(path: Path) -> None:
    begin(path, CAPTURED)
    restart(path, "snapshot")
    assert run_of(path) is None
    assert not (path / "previous-run").exists()


def test_a_start_over_knows_how_far_the_slot_was_confirmed(path: Path) -> None:
    """By that the slot is told from one that somebody made by the same name."""
    begin(path, CAPTURED)
    with attach_directory(WorkOptions(directory=path)) as work, work.store() as store:
        update_sentinel(store, received_lsn=140)
    options = WorkOptions(directory=path, restart=True)
    with open_directory(options, command="clone --follow") as work:
        assert [one.confirmed for one in work.previous] == [140]


def test_a_header_of_a_run_that_did_not_note_its_publications_is_read() -> None:
    header = msgspec.json.decode(b'{"run_id":"a","publication_created":true}', type=RunHeader)
    assert (header.publications, header.confirmed) == ((), 0)


def test_what_a_killed_command_set_aside_is_put_back_by_the_next(path: Path) -> None:
    begin(path, CAPTURED)
    aside = path / "previous-run"
    aside.mkdir()
    for name in ("catalogue.db", "cdc", "schema"):
        (path / name).rename(aside / name)
    with lock(path, "restart", "clone"):  # not yet killed: it is not ours to put back
        with open_directory(WorkOptions(directory=path), command="stream prefetch") as work:
            assert work.header() is None
        assert aside.exists()
    with open_directory(WorkOptions(directory=path), command="stream prefetch") as work:
        assert work.header() == CAPTURED
    assert not aside.exists()
    assert stored(path) == ["000000000001.db"]


@pytest.mark.parametrize(
    "command",
    [
        "follow",
        "stream prefetch",
        "stream catchup",
        "stream replay",
        "stream apply",
        "stream cleanup",
    ],
)
def test_a_command_that_only_goes_on_does_not_start_over(path: Path, command: str) -> None:
    begin(path, CAPTURED)
    with pytest.raises(StateError, match="goes on with the migration"):
        restart(path, command)
    assert run_of(path) == "first"


@pytest.mark.parametrize("command", ["copy db", "copy data", "dump schema", "stream receive"])
def test_a_slot_is_not_left_behind(path: Path, command: str) -> None:
    begin(path, CAPTURED)
    with pytest.raises(StateError, match='replication slot "mine"'):
        restart(path, command)
    assert run_of(path) == "first"


def test_changes_of_a_foreign_slot_are_not_thrown_away(path: Path) -> None:
    begin(path, ADOPTED, flushed=200, applied=150)
    with pytest.raises(StateError, match="nowhere else"):
        restart(path, "stream receive")
    assert stored(path) == ["000000000001.db"]


def test_changes_of_a_foreign_slot_that_are_applied_may_go(path: Path) -> None:
    begin(path, ADOPTED, flushed=200, applied=200)
    restart(path, "stream receive")
    assert stored(path) == []


def theirs(path: Path) -> dict[str, str]:
    """Put files of somebody's own into ``path``, and return them."""
    (path / "project").mkdir()
    files = {"project/thesis": "ten years", "notes.db": "mine", "x.lock": ""}
    for name, text in files.items():
        (path / name).write_text(text)
    return {str(path / name): text for name, text in files.items()}


@pytest.mark.parametrize("fails", [False, True])
def test_files_of_others_beside_a_run_stay(path: Path, *, fails: bool) -> None:
    begin(path, CAPTURED)
    kept = theirs(path)
    with suppress(SourceError):
        restart(path, "clone --follow", fail=fails)
    assert {file: Path(file).read_text() for file in kept} == kept
    assert run_of(path) == ("first" if fails else None)


def test_where_no_run_is_nothing_is_removed(path: Path) -> None:
    path.mkdir(mode=0o700)
    kept = theirs(path)
    with open_directory(WorkOptions(directory=path, restart=True), command="clone") as work:
        assert work.previous == ()
    assert {file: Path(file).read_text() for file in kept} == kept


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("folder", ["schema", "cdc", "databases", "previous-run"])
def test_a_folder_of_a_name_of_ours_that_is_not_ours_is_refused(
    path: Path, folder: str, *, restarts: bool
) -> None:
    (path / folder).mkdir(parents=True)
    path.chmod(0o700)
    (path / folder / "theirs").write_text("precious")
    options = WorkOptions(directory=path, restart=restarts)
    with (
        pytest.raises(StateError, match=rf"{folder}, and no catalogue of a migration"),
        open_directory(options, command="clone"),
    ):
        pass
    assert (path / folder / "theirs").read_text() == "precious"
    assert [one.name for one in path.iterdir()] == [folder]


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711])
def test_a_directory_that_holds_something_else_is_not_closed_to_others(
    path: Path, mode: int
) -> None:
    """Whose home, or root directory, it is: others would be locked out."""
    path.mkdir()
    (path / "thesis").write_text("ten years")
    path.chmod(mode)
    for restarts in (False, True):
        options = WorkOptions(directory=path, restart=restarts)
        with (
            pytest.raises(StateError, match="holds other files, and others may"),
            open_directory(options, command="clone"),
        ):
            pass
    assert path.stat().st_mode & 0o7777 == mode
    assert [one.name for one in path.iterdir()] == ["thesis"]


def test_an_empty_directory_and_that_of_a_migration_are_closed_to_others(path: Path) -> None:
    path.mkdir(mode=0o775)
    path.chmod(0o775)
    begin(path, CAPTURED)
    assert path.stat().st_mode & 0o7777 == 0o700
    path.chmod(0o755)
    assert run_of(path) == "first"
    with open_directory(WorkOptions(directory=path), command="stream prefetch"):
        assert path.stat().st_mode & 0o7777 == 0o700


def test_a_migration_in_a_directory_that_a_group_may_write_to_is_refused(path: Path) -> None:
    begin(path, CAPTURED)
    path.chmod(0o770)
    with pytest.raises(StateError, match="others may write to"):
        run_of(path)
