"""Change capture side by side: this program and PostgreSQL's own subscription, on equal terms.

    python bench/cdc.py [--scale 0.05] [--rounds 3] [--workloads tpcb,big] [--lag-seconds 20]

Each workload is recorded once on the source. Then every contender in turn replays it from a copy
of the same slot into a fresh copy of the same target database, and the target is compared with the
source. A wrong target is shown as such, and the status is then not 0.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from c_program import c_program, missing
from chart import line_chart
from contenders import Contender, Run, ours, ours_streaming, subscription
from lag import LIVE, saturated, steady
from measure import fsync_milliseconds, machine
from recording import Recording, recorded
from report import C_PROGRAM, OURS, Report, Result, show
from servers import Servers, running_servers
from workloads import WORKLOADS, Workload

from pgcopydb.demo.places import traversable_temporary_directory

NATIVE = "subscription"
STEADY = "500 transactions/s"
SATURATED = "8 clients at full speed"
STREAMING = f"{OURS}, streaming=on"
PARALLEL = "subscription, streaming=parallel"


def main() -> int:
    """Run what the command line asks for; return 1 when a target came out wrong."""
    options = _options()
    source_major, target_major = map(int, options.servers.split(":"))
    with running_servers(source_major, target_major) as servers, _directory() as directory:
        report = Report(
            servers=servers.versions,
            scale=options.scale,
            machine=machine(),
            fsync_ms=fsync_milliseconds(servers.target.directory),
        )
        for name in options.workloads:
            report.results += _replay(servers, WORKLOADS[name], options, Path(directory))
            report.save(options.results)  # a workload that fails later takes nothing away
        if options.lag_seconds:
            _lag(servers, report, options, Path(directory))
    show(report.text(), sys.stdout)
    report.save(options.results)
    return 1 if report.wrong() else 0


def _lag(servers: Servers, report: Report, options: argparse.Namespace, directory: Path) -> None:
    """Measure the lag of a live replay, at a steady rate and under all that the source can do."""
    scenarios = {
        STEADY: (steady, options.lag_seconds / 2),
        SATURATED: (saturated, options.lag_seconds),
    }
    for name, (scenario, seconds) in scenarios.items():
        found = {
            contender: scenario(servers, live, seconds, directory)
            for contender, live in LIVE.items()
        }
        report.lag[name] = {contender: asdict(lag) for contender, lag in found.items()}
        if name == SATURATED:
            series = {contender: lag.samples for contender, lag in found.items()}
            options.results.mkdir(parents=True, exist_ok=True)
            chart = line_chart(f"Lag, {name}", "seconds of load", "seconds of lag", series)
            (options.results / "lag.svg").write_text(chart)


def _directory() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(dir=traversable_temporary_directory(), prefix="bench-")


def _replay(
    servers: Servers, workload: Workload, options: argparse.Namespace, directory: Path
) -> list[Result]:
    """Record a workload and let every contender replay it, in turn, ``rounds`` times."""
    size = max(100, int(workload.size * options.scale))
    with recorded(servers, workload, size, directory, with_c_slot=options.c_program) as recording:
        contenders = _contenders(workload, c_program_too=options.c_program)
        runs: dict[str, list[Run]] = {name: [] for name in contenders}
        for number in range(1, options.rounds + 1):
            _round(recording, contenders, number, runs)
        return [Result(workload, size, recording.wal_bytes, name, runs[name]) for name in runs]


def _round(
    recording: Recording,
    contenders: Mapping[str, Contender],
    number: int,
    runs: Mapping[str, list[Run]],
) -> None:
    for position, (name, contender) in enumerate(contenders.items()):
        run = contender(recording, f"bench_{position}_{number}")
        runs[name].append(run)
        wrong = f" WRONG: {'; '.join(run.wrong)}" if run.wrong else ""
        line = f"{recording.workload.name:8} {number} {name:32} {run.seconds:8.2f} s{wrong}"
        show(line, sys.stderr)


def _contenders(workload: Workload, *, c_program_too: bool) -> Mapping[str, Contender]:
    found: dict[str, Contender] = {OURS: ours, NATIVE: subscription("off")}
    if workload.name == "big":
        found[STREAMING] = ours_streaming
        found[PARALLEL] = subscription("parallel")
    if c_program_too:
        found[C_PROGRAM] = c_program
    return found


def _names(text: str) -> Sequence[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such workload: {', '.join(unknown)}")
    return names


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=0.05, help="1 is the full size")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workloads", type=_names, default=list(WORKLOADS))
    parser.add_argument("--lag-seconds", type=float, default=20, help="0 leaves the lag out")
    parser.add_argument("--servers", default="16:18", help="majors of source and target")
    parser.add_argument("--results", type=Path, default=Path("bench/results"))
    parser.add_argument(
        "--c-program", action="store_true", help="Debian's pgcopydb too; needs --servers 15:15"
    )
    options = parser.parse_args()
    if options.c_program:
        reason = missing() or ("" if options.servers == "15:15" else "it needs --servers 15:15")
        if reason:
            show(f"{C_PROGRAM} is left out: {reason}", sys.stderr)
            options.c_program = False
    return options


if __name__ == "__main__":
    sys.exit(main())
