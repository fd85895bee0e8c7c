"""How far a base copy is: measured from its queue, and shown."""

import io
import json
import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from pgcopydb.cli.drawing import Lines, copy_lines
from pgcopydb.cli.progress import copy_line, copy_progress, progress_members, summary_json
from pgcopydb.cli.render import clone_summary
from pgcopydb.clone.context import BUILD, COPY, FOREIGN_KEYS, LARGE_OBJECTS
from pgcopydb.clone.planning.jobs import Build, encode
from pgcopydb.clone.progress import covered, measure, with_index_builds
from pgcopydb.clone.summary import summarize
from pgcopydb.model.objects import IndexBuild
from pgcopydb.model.options import WorkOptions
from pgcopydb.model.parts import Part, TablePart
from pgcopydb.model.results import CloneSummary, CopyProgress, StepSummary, TableSummary, UnderWay
from pgcopydb.workdir.directory import WorkDirectory, attach_directory, open_directory
from pgcopydb.workdir.jobs import JobQueue, NewJob
from pgcopydb.workdir.steps import begin_step, finish_step, read_steps
from tests.support.terminal import screen

MB = 1 << 20
PARTS = 4


def _copy(oid: int, name: str, part: int = 1, parts: int = 1) -> NewJob:
    moved = TablePart(
        table_oid=oid, schema="s", name=name, columns=("a",), part=Part(number=part, count=parts)
    )
    return NewJob(
        pool=COPY, kind="copy", unit=f"copy {oid}", oid=oid, schema="s", name=name, part=part,
        weight=10 * MB, parameters=encode(moved),
    )  # fmt: skip


def _build(oid: int, name: str, indexes: int) -> NewJob:
    return NewJob(
        pool=BUILD, kind="build", unit=f"constraints {oid}", oid=oid, schema="s", name=name,
        weight=10 * MB, items=indexes, parameters=encode(Build()), waits_for=[f"copy {oid}"],
    )  # fmt: skip


@pytest.fixture
def work(tmp_path: Path) -> WorkDirectory:
    """A copy of two tables, one of them in four parts, as another process would find it."""
    with open_directory(WorkOptions(directory=tmp_path / "w"), command="list") as directory:
        with directory.store() as store:
            store.execute(
                "insert into command_run (role, command, pid, started)"
                " values ('clone', 'clone', ?, '2020-01-01T00:00:00Z')",
                (os.getpid(),),
            )
            finish_step(store, begin_step(store, "dump schema"))
            begin_step(store, "copy table data", 4)
            queue = JobQueue(store)
            queue.add(
                [
                    *(_copy(1, "big", part, PARTS) for part in range(1, PARTS + 1)),
                    _copy(2, "small"),
                    _build(1, "big", 3),
                    _build(2, "small", 2),
                    NewJob(pool=LARGE_OBJECTS, kind="large objects", unit="lo", weight=700),
                    NewJob(pool=FOREIGN_KEYS, kind="foreign key", unit="fk", waits_for=["lo"]),
                ]
            )
            first, second, *_ = queue.claim_several(COPY, weight=1000 * MB, count=2)
            queue.finish(first, rows=1000, bytes=5 * MB)
            queue.note(second, bytes=2 * MB)
        return directory


def test_a_copy_under_way(work: WorkDirectory) -> None:
    progress = measure(work)
    assert (progress.command, progress.state, progress.step) == (
        "clone", "running", "copy table data"
    )  # fmt: skip
    assert (progress.tables.done, progress.tables.total) == (0, 2)
    assert (progress.parts.done, progress.parts.total) == (1, 5)
    assert (progress.rows, progress.bytes) == (1000, 7 * MB)
    assert progress.bytes_total == 25 * MB, "the first part took half of its size"
    assert (progress.indexes.done, progress.indexes.total) == (0, 5)
    assert progress.large_objects.total == 700
    (moving,) = progress.under_way
    assert (moving.name, moving.part, moving.parts) == ("big", 2, PARTS)
    assert (moving.bytes, moving.bytes_total) == (2 * MB, 5 * MB)
    assert progress.bytes_per_second > 0
    assert progress.seconds_left is not None


def test_of_empty_tables_nothing_is_foretold(work: WorkDirectory) -> None:
    with work.store() as store:
        store.execute("update job set weight = 0, state = 'done' where pool = ?", (COPY,))
        store.execute("update job set weight = 0 where pool = ?", (BUILD,))
        begin_step(store, "indexes, constraints, vacuum")
    assert measure(work).seconds_left is None


def test_the_same_after_its_process_was_killed_and_at_its_end(work: WorkDirectory) -> None:
    with work.store() as store:
        store.execute("update command_run set pid = 4194304 + 1")  # beyond any process
    killed = measure(work)
    assert killed.state == "interrupted"
    assert (killed.step, killed.under_way, killed.seconds_left) == (None, (), None)
    with work.store() as store:
        queue = JobQueue(store)
        queue.reset()
        assert queue.state(COPY).bytes == 5 * MB, "what was under way is not there"
        while (job := queue.claim(COPY)) or (job := queue.claim(BUILD)):
            queue.finish(job, rows=1000, bytes=5 * MB if job.pool == COPY else None)
        store.execute("update command_run set outcome = 'done'")
    done = measure(work)
    assert done.state == "done"
    assert (done.tables.done, done.indexes.done, done.built.done) == (2, 5, 2)
    assert done.bytes == done.bytes_total == 25 * MB


def test_a_failure_says_its_reason(work: WorkDirectory) -> None:
    with work.store() as store:
        queue = JobQueue(store)
        queue.fail(queue.jobs(state="running")[0], "target: no space")
    progress = measure(work)
    assert [(one.name, one.error) for one in progress.failed] == [("big", "target: no space")]
    assert "target: no space" in copy_progress(progress, as_json=False)


def test_nothing_was_copied_yet(tmp_path: Path) -> None:
    with open_directory(WorkOptions(directory=tmp_path), command="list") as directory:
        progress = measure(directory)
    assert progress.state == "not begun"
    assert copy_progress(progress, as_json=False).startswith("nothing was copied")
    assert json.loads(copy_progress(progress, as_json=True))["tables"] == {"done": 0, "total": 0}


def test_the_report(work: WorkDirectory) -> None:
    progress = measure(work)
    text = copy_progress(progress, as_json=False)
    assert text.startswith("pgcopydb clone: running")
    assert re.search(r"parts of tables +1 of 5\n", text)
    assert re.search(r"data +7\.0 MB of about 25\.0 MB, ", text)
    assert re.search(r"copy +s\.big +2/4 .* 2\.0 MB", text)
    members = json.loads(copy_progress(progress, as_json=True))
    assert members["indexes"] == {"done": 0, "total": 5}
    assert members["under_way"][0]["bytes"] == 2 * MB
    begun = datetime.fromtimestamp(progress.under_way[0].started, UTC)
    for text in (members["under_way"][0]["started"], members["steps"][0]["finished"]):
        assert abs(datetime.fromisoformat(text) - begun) < timedelta(hours=1)
        assert text.endswith("Z")
    assert [step["name"] for step in members["steps"]] == ["dump schema", "copy table data"]
    assert members["steps"][1]["finished"] is None


def test_a_line_of_the_log(work: WorkDirectory) -> None:
    progress = replace(measure(work), bytes_per_second=MB, seconds_left=18.0)
    assert copy_line(progress) == (
        "copy table data, 7.0 MB of about 25.0 MB (28%) and 0 of 2 tables copied,"
        " 0 of 5 indexes built, 1.0 MB/s, about 18.0 s left"
    )
    assert progress_members(progress)["bytes"] == 7 * MB


def test_what_the_target_says_of_an_index(work: WorkDirectory) -> None:
    with work.store() as store:
        queue = JobQueue(store)
        while job := queue.claim(COPY):
            queue.finish(job)
        for job in queue.jobs(COPY, "running"):
            queue.finish(job)
        assert queue.claim(BUILD) is not None
    progress = measure(work)
    built = progress.under_way[0].name or ""
    build = IndexBuild(schema="s", name=built, phase="building index", fraction=0.25)
    completed = with_index_builds(progress, [replace(build, name="other"), build])
    assert [(one.phase, one.fraction) for one in completed.under_way] == [("building index", 0.25)]
    assert "building index 25%" in copy_progress(completed, as_json=False)


def test_steps_are_remembered(work: WorkDirectory) -> None:
    with work.store() as store:
        begin_step(store, "copy table data", 2)
        steps = read_steps(store)
    assert [step.name for step in steps] == ["dump schema", "copy table data"]
    assert steps[1].concurrency == 2, "the one that was interrupted is forgotten"


def test_pauses_between_runs_do_not_count() -> None:
    steps = [
        StepSummary(name="a", started=0, finished=10),
        StepSummary(name="b", started=5, finished=12),
        StepSummary(name="interrupted", started=20),
        StepSummary(name="c", started=100, finished=101),
    ]
    assert covered(steps) == 13
    assert covered([StepSummary(name="a", started=0)], until=3) == 3


def test_the_summary_of_an_unfinished_copy(work: WorkDirectory) -> None:
    summary = summarize(work)
    assert [table.name for table in summary.tables] == ["big", "small"]
    assert [step.name for step in summary.steps] == ["dump schema", "copy table data"]
    assert summary.steps[1].bytes == 5 * MB
    assert json.loads(summary_json(summary))["steps"][1]["finished"] is None


def _summary(tables: int) -> CloneSummary:
    one = TableSummary(schema="s", name="t", bytes=1024, rows=1, copy_seconds=0.1)
    many = tuple(replace(one, name=f"t{number}") for number in range(tables))
    return CloneSummary(tables=many, steps=(), total_seconds=1.0, bytes=1024 * tables)


def test_the_summary_shows_the_largest_tables() -> None:
    text = clone_summary(_summary(33))
    assert " t29 " in text
    assert " t30 " not in text
    assert "and 3 smaller ones with 3.0 kB" in text
    assert " t32 " in clone_summary(_summary(33), all_tables=True)
    assert "smaller" not in clone_summary(_summary(30))


# -- on a terminal ---------------------------------------------------------------------------------


def _lines(terminal: io.StringIO, *, width: int = 100, height: int = 25) -> Lines:
    return Lines(
        Console(file=terminal, force_terminal=True, width=width, height=height, color_system=None)
    )


def test_lines_are_redrawn_and_log_lines_stay(work: WorkDirectory) -> None:
    terminal = io.StringIO()
    lines = _lines(terminal)
    progress = measure(work)
    lines.draw(copy_lines(progress))
    assert len(screen(terminal.getvalue())) == 4
    terminal.write("\r\x1b[Ja worker says something\n")  # as another process does
    lines.draw(copy_lines(progress))
    lines.draw(copy_lines(replace(progress, under_way=())))
    shown = screen(terminal.getvalue())
    assert shown[0] == "a worker says something"
    assert "copy table data   28%  ███" in shown[1]
    assert re.match(r"7\.0 MB of about 25\.0 MB .* 1,000 rows ", shown[2])
    assert "0 of 2 tables  0 of 5 indexes" in shown[3]
    assert not any("big" in line for line in shown), "nothing of the longer one is left"
    lines.erase()
    assert screen(terminal.getvalue()) == ["a worker says something", ""]


def test_lines_fit_into_the_terminal(work: WorkDirectory) -> None:
    progress = measure(work)
    many = tuple(
        UnderWay(what="copy", schema="s", name=f"odd\n{'x' * 90}{number}", started=time.time())
        for number in range(30)
    )
    terminal = io.StringIO()
    _lines(terminal, width=60, height=10).draw(copy_lines(replace(progress, under_way=many)))
    shown = screen(terminal.getvalue())
    assert len(shown) == 9
    assert max(map(len, shown)) <= 60
    tall = io.StringIO()
    _lines(tall).draw(copy_lines(replace(progress, under_way=many)))
    assert screen(tall.getvalue())[-1].strip() == "and 19 more"


def test_nothing_is_cut_off_on_a_terminal_of_80_columns(work: WorkDirectory) -> None:
    terminal = io.StringIO()
    longest = replace(measure(work), step="indexes, constraints, vacuum", seconds_left=359_999.0)
    _lines(terminal, width=80, height=24).draw(copy_lines(longest))
    shown = screen(terminal.getvalue())
    assert shown[0].endswith("about 99 h 59 min left")
    assert [line for line in shown if "…" in line] == []


def test_before_the_jobs_are_planned(work: WorkDirectory) -> None:
    with work.store() as store:
        JobQueue(store).clear()
    terminal = io.StringIO()
    progress: CopyProgress = measure(work)
    _lines(terminal).draw(copy_lines(progress))
    assert screen(terminal.getvalue())[0].startswith("copy table data  ")


def test_another_process_may_look(work: WorkDirectory) -> None:
    with attach_directory(WorkOptions(directory=work.path)) as seen:
        assert measure(seen).tables.total == 2
