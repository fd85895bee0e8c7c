"""The base copy side by side: this program, pg_dump with pg_restore, and the C program.

    python bench/base_copy.py [--scale 0.05] [--rounds 3] [--jobs 2,4] [--data-sets large,small]

Each data set is made once on the source. Then every contender in turn copies it into an empty
database of the same target server, with the same number of jobs: A B C, then C B A. What they made
is removed when all are done with the data set, and not between them. Ratios are of runs of the same
round. A target that is not equal is shown as such, and the status is then not 0.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chart import bar_chart
from copiers import C_PROGRAM, Copied, Copier, Task, c_program, clear, dump_and_restore, ours
from datasets import DATA_SETS, DataSet
from measure import fsync_milliseconds, machine
from report import markdown, show
from servers import Servers, digest, running_servers

from pgcopydb.demo.cluster import Cluster
from pgcopydb.demo.places import traversable_temporary_directory

OURS = "pgcopydb"
DUMP = "pg_dump, pg_restore"
C_NAME = "pgcopydb 0.10 (C)"

CPU_AT_MOST = 1.5
PEAK_AT_MOST = 120.0

_REMEMBERED = 65
"""Seconds after which the file system has forgotten files that were removed.

For a minute ext4 passes over the inodes of removed files one by one, whenever a file is made: 400
tables with 1,600 indexes took 5.2 s in place of 3.3, both ours, once such a database had been
dropped, of which 1.3 s were the kernel's search (``perf``: recently_deleted, find_inode_bit).
"""


@dataclass(frozen=True, slots=True)
class Result:
    """Every run of one contender on one data set with one number of jobs."""

    data_set: DataSet
    size: int
    jobs: int
    contender: str
    runs: list[Copied] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The median of the runs' times."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def cpu(self) -> float:
        """The median of the client's CPU seconds."""
        return statistics.median(run.cpu for run in self.runs)

    @property
    def peak_mb(self) -> float:
        """The most memory that a process of any run held."""
        return max(run.peak_mb for run in self.runs)

    @property
    def first_copy(self) -> float | None:
        """The median of how long it took to the first rows."""
        found = [run.first_copy for run in self.runs if run.first_copy is not None]
        return statistics.median(found) if found else None

    def ratios(self, other: "Result") -> list[float]:
        """Our time as a share of the other's, pair by pair."""
        pairs = zip(self.runs, other.runs, strict=False)
        return [mine.seconds / theirs.seconds for mine, theirs in pairs]


def main() -> int:
    """Run what the command line asks for; return 1 when a target came out wrong."""
    options = _options()
    contenders: dict[str, Copier] = {OURS: ours, DUMP: dump_and_restore}
    if C_PROGRAM.exists() and not options.without_c_program:
        contenders[C_NAME] = c_program
    results = _kept(options.results) if options.keep else []
    source_major, target_major = map(int, options.servers.split(":"))
    with (
        running_servers(source_major, target_major) as servers,
        tempfile.TemporaryDirectory(
            dir=traversable_temporary_directory(), prefix="bench-"
        ) as directory,
    ):
        facts = ", ".join(f"{name} {value}" for name, value in machine().items())
        fsync = fsync_milliseconds(servers.target.directory)
        conditions = f"PostgreSQL {servers.versions}; {facts}; fsync p50 {fsync:.2f} ms"
        for name in options.data_sets:
            results = [
                *(one for one in results if one.data_set.name != name),
                *_measure(servers, DATA_SETS[name], contenders, options, Path(directory)),
            ]
            _save(options.results, conditions, options.scale, results)
    show(_text(conditions, options.scale, results), sys.stdout)
    return (
        1 if any(run.wrong for one in results if one.contender == OURS for run in one.runs) else 0
    )


def _measure(
    servers: Servers,
    data_set: DataSet,
    contenders: Mapping[str, Copier],
    options: argparse.Namespace,
    directory: Path,
) -> list[Result]:
    size = max(1, round(data_set.size * options.scale))
    database = f"bench_{data_set.name}"
    servers.source.create_database(database)
    with ExitStack() as removed:
        removed.callback(_rest, options.scale)
        removed.callback(servers.source.drop_database, database)
        data_set.make(servers.source, database, size)
        with servers.source.connect() as connection:
            connection.execute("checkpoint")
        expected = _contents(servers.source, database)

        def run(copier: Copier, name: str, jobs: int) -> Copied:
            task = Task(
                servers=servers,
                source=servers.source.conninfo(database),
                target=servers.target.conninfo(name),
                jobs=jobs,
                directory=directory / name,
            )
            removed.callback(_remove, task, name)
            return _copy(task, name, copier, expected)

        # Not counted: the first copy of all reads from disk, and makes the target's files of WAL.
        run(dump_and_restore, f"{database}_first", options.jobs[0])
        results: list[Result] = []
        for jobs in options.jobs:
            several = {name: Result(data_set, size, jobs, name) for name in contenders}
            for number in range(1, options.rounds + 1):
                for place, name in enumerate(_in_turn(list(contenders), number), 1):
                    found = run(contenders[name], f"{database}_{jobs}_{number}_{place}", jobs)
                    several[name].runs.append(found)
                    _tell(several[name], number, found)
            results += several.values()
        return results


def _in_turn(names: list[str], number: int) -> list[str]:
    """Return who copies after whom: A B C, then C B A, lest one follow always the same."""
    return names if number % 2 else names[::-1]


def _remove(task: Task, name: str) -> None:
    task.servers.target.drop_database(name)
    clear(task.directory)


def _rest(scale: float) -> None:
    """Wait until the files that were removed make nobody slow, at the size that is judged."""
    if scale >= 1:
        time.sleep(_REMEMBERED)


def _copy(task: Task, name: str, copier: Copier, expected: Mapping[str, object]) -> Copied:
    """Let one contender copy into the new database ``name``, on a target that is at rest."""
    target = task.servers.target
    target.create_database(name)
    clear(task.directory)
    with target.connect() as connection:
        connection.execute("checkpoint")
    os.sync()
    try:
        run = copier(task)
    except SystemExit as error:
        if copier is not c_program:
            raise
        return Copied(float("nan"), float("nan"), float("nan"), wrong=str(error)[:200])
    found = _contents(target, name)
    wrong = ", ".join(key for key in expected if found.get(key) != expected[key])
    return Copied(run.seconds, run.cpu, run.peak_mb, run.first_copy, wrong)


def _contents(cluster: Cluster, database: str) -> dict[str, object]:
    """Return a digest of every table, and of large objects and how many indexes there are."""
    found: dict[str, object] = dict(digest(cluster, database))
    with cluster.connect(database) as connection:
        found["large objects"] = connection.execute(
            "select count(*), sum(length(data)),"
            " sum(hashtextextended(data::text, loid::int8)::numeric) from pg_largeobject"
        ).fetchone()
        found["indexes"] = connection.execute(
            "select count(*) from pg_index where indisvalid and indexrelid >= 16384"
            " and indrelid not in (select oid from pg_class where relkind = 't')"
        ).fetchone()
    return found


def _tell(result: Result, number: int, run: Copied) -> None:
    wrong = f" WRONG: {run.wrong}" if run.wrong else ""
    line = f"{result.data_set.name:10} {result.jobs} jobs {number} {result.contender:20}"
    show(f"{line} {run.seconds:7.2f} s {run.cpu:6.2f} s CPU{wrong}", sys.stderr)


# -- what is shown and kept ---------------------------------------------------------------------


_COLUMNS = (
    "data set",
    "size",
    "jobs",
    "contender",
    "median",
    "ours / theirs",
    "pairs",
    "client CPU",
    "peak MB",
    "first rows",
    "target",
)


def _text(conditions: str, scale: float, results: Sequence[Result]) -> str:
    """The report in Markdown, which is also what the terminal shows."""
    rows: list[tuple[str, ...]] = [_COLUMNS]
    mine: Result | None = None
    for result in results:
        mine = result if result.contender == OURS else mine
        assert mine is not None
        ratios = [] if result is mine else mine.ratios(result)
        first = result.first_copy
        rows.append(
            (
                result.data_set.title,
                f"{result.size:,} {result.data_set.unit}",
                str(result.jobs),
                result.contender,
                f"{result.seconds:.2f} s",
                f"{statistics.median(ratios):.2f}" if ratios else "",
                " ".join(f"{ratio:.2f}" for ratio in ratios),
                f"{result.cpu:.2f} s",
                f"{result.peak_mb:.0f}",
                "" if first is None else f"{first:.2f} s",
                "WRONG" if any(run.wrong for run in result.runs) else "equal",
            )
        )
    lines = [f"{conditions}; scale {scale:g}", "", *markdown(rows), "", *_bars(results, scale)]
    return "\n".join(lines)


def _bars(results: Sequence[Result], scale: float) -> list[str]:
    """Return a line for each data set: whether ours is fast enough, which counts at full size."""
    rows: list[tuple[str, ...]] = [("data set", "jobs", "ours / best peer", "bar", "")]
    for mine in (result for result in results if result.contender == OURS):
        others = [
            other
            for other in results
            if other.contender != OURS
            and (other.data_set, other.jobs) == (mine.data_set, mine.jobs)
            and not any(run.wrong for run in other.runs)
        ]
        share = max((statistics.median(mine.ratios(one)) for one in others), default=float("nan"))
        bar = mine.data_set.at_most
        verdict = ("met" if share <= bar else "MISSED") if scale >= 1 else "not judged"
        row = (mine.data_set.title, str(mine.jobs), f"{share:.2f}", f"{bar:g}", verdict)
        rows.append(row)
    return markdown(rows)


def _save(directory: Path, conditions: str, scale: float, results: Sequence[Result]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    kept = [
        {
            "data_set": one.data_set.name,
            "size": one.size,
            "jobs": one.jobs,
            "contender": one.contender,
            "runs": [asdict(run) for run in one.runs],
        }
        for one in results
    ]
    figures = {"conditions": conditions, "scale": scale, "results": kept}
    (directory / "base_copy.json").write_text(json.dumps(figures, indent=1) + "\n")
    (directory / "base_copy.md").write_text(_text(conditions, scale, results) + "\n")
    fewest = min(one.jobs for one in results)
    shown: dict[str, dict[str, float]] = {}
    theirs = {
        one.data_set.name: one for one in results if (one.contender, one.jobs) == (DUMP, fewest)
    }
    for one in (one for one in results if one.jobs == fewest):
        share = one.seconds / theirs[one.data_set.name].seconds
        if not math.isnan(share):
            label = f"{one.data_set.name}: {one.size:,} {one.data_set.unit}"
            shown.setdefault(label, {})[one.contender] = share
    title = f"Copying a database with {fewest} jobs"
    chart = bar_chart(title, f"share of the time of {DUMP}", shown)
    (directory / "base_copy.svg").write_text(chart)


def _kept(directory: Path) -> list[Result]:
    """Return what an earlier run found, which this one adds to."""
    path = directory / "base_copy.json"
    if not path.exists():
        return []
    return [
        Result(
            DATA_SETS[one["data_set"]],
            one["size"],
            one["jobs"],
            one["contender"],
            [Copied(**run) for run in one["runs"]],
        )
        for one in json.loads(path.read_text())["results"]
    ]


def _names(text: str) -> Sequence[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in DATA_SETS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such data set: {', '.join(unknown)}")
    return names


def _numbers(text: str) -> Sequence[int]:
    return [int(number) for number in text.split(",")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=0.05, help="1 is the full size")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=_numbers, default=[2, 4])
    parser.add_argument("--data-sets", type=_names, default=list(DATA_SETS))
    parser.add_argument("--without-c-program", action="store_true")
    parser.add_argument(
        "--keep", action="store_true", help="keep what is in the results of other data sets"
    )
    parser.add_argument("--servers", default="16:18", help="majors of source and target")
    parser.add_argument("--results", type=Path, default=Path("bench/results"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
