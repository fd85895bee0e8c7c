"""How far a base copy is, as text: a report, and a line of the log."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec.structs import asdict

from pgcopydb.cli.render import Right, aligned, as_json_text, duration, progress_line, size
from pgcopydb.lsn import format_lsn
from pgcopydb.model.results import (
    CloneSummary,
    CopyProgress,
    Count,
    FollowStanding,
    StepSummary,
    UnderWay,
)


def copy_progress(
    progress: CopyProgress, follow: FollowStanding | None = None, *, as_json: bool
) -> str:
    """Return how far a base copy is, everything that is known of it, and what follows it."""
    if as_json:
        members = asdict(progress)
        members["started"] = _moment(progress.started)
        members["seconds"] = round(progress.seconds, 3)
        if progress.seconds_left is not None:
            members["seconds_left"] = round(progress.seconds_left, 1)
        members["steps"] = [_step_members(step) for step in progress.steps]
        members["under_way"] = [
            asdict(one) | {"started": _moment(one.started)} for one in progress.under_way
        ]
        members["follow"] = follow and _follow_members(follow)
        return as_json_text(members)
    sections = [_heading(progress, follow)]
    if progress.tables.total:
        sections.append(_counts(progress))
    if progress.under_way:
        sections.append(_under_way_table(progress.under_way))
    if progress.failed:
        sections.append(
            aligned(
                ["failed", "error"],
                ([qualified(one.schema, one.name), one.error] for one in progress.failed),
            )
        )
    return "\n\n".join(sections)


def summary_json(summary: CloneSummary) -> str:
    """Return the report of a base copy for a program."""
    members = asdict(summary)
    members["steps"] = [_step_members(step) for step in summary.steps]
    return as_json_text(members)


def _step_members(step: StepSummary) -> dict[str, Any]:
    times = {"started": _moment(step.started), "finished": _moment(step.finished)}
    return asdict(step) | times | {"seconds": round(step.seconds, 3)}


def _moment(seconds: float | None) -> str | None:
    """Return a moment in seconds since 1970 as ISO 8601 writes it, in UTC."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return moment.removesuffix("+00:00") + "Z"


def _follow_members(follow: FollowStanding) -> dict[str, Any]:
    return {
        "command": follow.command,
        "state": follow.state,
        "endpos": format_lsn(follow.progress.endpos),
        "replay_lsn": format_lsn(follow.progress.replay_lsn),
        "lag_bytes": follow.progress.lag_bytes,
        "lag_seconds": round(follow.progress.lag_seconds, 3),
    }


def _heading(progress: CopyProgress, follow: FollowStanding | None) -> str:
    """Return what runs: a copy that is done says nothing of the follow, which then comes first."""
    if follow is None:
        return _copy_heading(progress)
    text = f"pgcopydb {follow.command}: {_FOLLOWS.get(follow.state, follow.state)}"
    lines = [text, progress_line(follow.progress)]
    if progress.command is not None:
        lines.append(f"\nbase copy: {progress.state} in {duration(progress.seconds)}")
    return "\n".join(lines)


_FOLLOWS: Final = {
    "running": "the base copy is complete, following",
    "done": "done, everything up to its end is applied",
    "failed": "following ended with an error, or was stopped; it can be resumed",
    "interrupted": "following was killed; it can be resumed",
}


def _copy_heading(progress: CopyProgress) -> str:
    if progress.command is None:
        return "nothing was copied with this work directory yet"
    text = f"pgcopydb {progress.command}: {progress.state}"
    if progress.state == "running":
        text += f", {duration(progress.seconds)} so far"
    elif progress.state == "done":
        text += f" in {duration(progress.seconds)}"
    return f"{text}\nstep: {progress.step}" if progress.step else text


def _counts(progress: CopyProgress) -> str:
    rate = f", {size(progress.bytes_per_second)}/s" if progress.bytes_per_second else ""
    is_copied = progress.parts.done == progress.parts.total
    total = "" if is_copied else f" of about {size(progress.bytes_total)}"
    lines = {
        "tables": of(progress.tables),
        "parts of tables": of(progress.parts),
        "rows": f"{progress.rows:,}",
        "data": f"{size(progress.bytes)}{total}{rate}",
        "large objects": of(progress.large_objects),
        "indexes": of(progress.indexes),
        "tables built": of(progress.built),
        "foreign keys": of(progress.foreign_keys),
    }
    if progress.seconds_left is not None:
        lines["time left"] = f"about {duration(progress.seconds_left)}"
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines.items())


def of(count: Count) -> str:
    """Return how many of how many."""
    return f"{count.done:,} of {count.total:,}"


def _under_way_table(under_way: Sequence[UnderWay]) -> str:
    now = time.time()
    return aligned(
        ["under way", "table", "part", "for", "copied", "phase"],
        (
            [
                one.what,
                qualified(one.schema, one.name),
                Right("-" if one.part is None else f"{one.part}/{one.parts}"),
                duration(max(now - one.started, 0)),
                Right("-" if one.bytes is None else size(one.bytes)),
                phase(one),
            ]
            for one in sorted(under_way, key=lambda one: one.started)
        ),
    )


def qualified(schema: str | None, name: str | None) -> str:
    """Return the name with its schema, where there is one."""
    return ".".join(part for part in (schema, name) if part)


def phase(one: UnderWay) -> str:
    """Return what the target says of an index, nothing where it says nothing."""
    done = "" if one.fraction is None else f" {one.fraction:.0%}"
    return f"{one.phase or ''}{done}"


# -- while it runs ---------------------------------------------------------------------------------


def copy_line(progress: CopyProgress) -> str:
    """Return how far a base copy is as one line of the log."""
    return ", ".join(_said(progress))


def progress_members(progress: CopyProgress) -> dict[str, object]:
    """Return what a line of the log says of a base copy, for logs in JSON."""
    return {
        "step": progress.step,
        "tables": progress.tables.done,
        "tables_total": progress.tables.total,
        "indexes": progress.indexes.done,
        "indexes_total": progress.indexes.total,
        "rows": progress.rows,
        "bytes": progress.bytes,
        "bytes_total": progress.bytes_total,
        "bytes_per_second": progress.bytes_per_second,
        "seconds_left": progress.seconds_left and round(progress.seconds_left, 1),
    }


def _said(progress: CopyProgress) -> Iterator[str]:
    if not progress.tables.total:
        yield progress.step or "preparing the copy"
        return
    yield progress.step or "copying"
    copied = f"{size(progress.bytes)} of about {size(progress.bytes_total)}"
    yield f"{copied} ({share(progress):.0%}) and {of(progress.tables)} tables copied"
    yield f"{of(progress.indexes)} indexes built"
    if progress.bytes_per_second and progress.tables.done < progress.tables.total:
        yield f"{size(progress.bytes_per_second)}/s"
    if progress.seconds_left:
        yield f"about {duration(progress.seconds_left)} left"


def share(progress: CopyProgress) -> float:
    """Return how much of the rows is copied, from 0 to 1."""
    if progress.tables.done == progress.tables.total:
        return 1.0
    return min(progress.bytes / progress.bytes_total, 1.0) if progress.bytes_total else 0.0
