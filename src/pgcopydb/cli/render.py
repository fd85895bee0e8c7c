"""Results as text: tables a person can read, JSON a program can."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import asdict

from pgcopydb.lsn import format_lsn
from pgcopydb.model.endpoint import Side
from pgcopydb.model.objects import ServerFacts
from pgcopydb.model.results import (
    CloneSummary,
    Conflict,
    DatabaseOutcome,
    FollowProgress,
    FollowSummary,
    OnlineSummary,
    PhaseSummary,
    PruneSummary,
    StepSummary,
)
from pgcopydb.runtime.logs import printable


def aligned(headings: Sequence[str], rows: Iterable[Sequence[str | int]]) -> str:
    """Return a table of text: numbers to the right, everything else to the left."""
    body = list(rows)
    texts = [[printable(str(cell)) for cell in row] for row in body]
    widths = [max(map(len, column)) for column in zip(headings, *texts, strict=True)]
    right = [
        bool(body) and all(isinstance(row[column], Right | int) for row in body)
        for column in range(len(headings))
    ]
    lines = [headings, ["-" * width for width in widths], *texts]
    return "\n".join(_line(line, widths, right) for line in lines)


class Right(str):
    """Text that stands at the right of its column, such as a size with its unit."""

    __slots__ = ()


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    placed = (
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )
    return "  ".join(placed).rstrip()


def size(count: int) -> Right:
    """Return a number of bytes with a unit; units are powers of 1024, as PostgreSQL prints them."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1024:
            return Right(f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}")
        amount /= 1024
    return Right(f"{amount:.1f} TB")


def duration(seconds: float) -> Right:
    """Return a duration: milliseconds, seconds, or hours and minutes, as fits its length."""
    if seconds < 1:
        return Right(f"{seconds * 1000:.0f} ms")
    if seconds < 60:
        return Right(f"{seconds:.1f} s")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return Right(f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s")


def as_json_text(value: object) -> str:
    """Return ``value`` as JSON for a program to read."""
    # json.dumps with an indent is all Python: 100,000 columns took it seconds
    text = msgspec.json.encode(value, enc_hook=str)
    return msgspec.json.format(text, indent=2).decode()


def server_line(side: Side, facts: ServerFacts) -> str:
    """Return what a server that answered is."""
    return f'{side}: PostgreSQL {facts.version}, database "{printable(facts.database)}"'


_SHOWN_TABLES = 30


def clone_summary(summary: CloneSummary, *, all_tables: bool = False) -> str:
    """Return the report of a base copy: its largest tables, or all, then step by step."""
    shown = summary.tables if all_tables else summary.tables[:_SHOWN_TABLES]
    left = summary.tables[len(shown) :]
    tables = aligned(
        ["schema", "table", "rows", "size", "copy", "indexes", "index time"],
        (
            [
                table.schema,
                table.name,
                table.rows,
                size(table.bytes),
                duration(table.copy_seconds),
                table.index_count,
                duration(table.index_seconds),
            ]
            for table in shown
        ),
    )
    if left:
        rest = size(sum(table.bytes for table in left))
        tables += f"\nand {len(left):,} smaller one{_s(len(left))} with {rest}"
    steps = _step_table(summary.steps)
    count = len(summary.tables)
    total = f"{count} table{'' if count == 1 else 's'}, {size(summary.bytes)} copied"
    return f"{tables}\n\n{steps}\n\n{total} in {duration(summary.total_seconds)}"


def database_outcomes(outcomes: Sequence[DatabaseOutcome]) -> str:
    """Return the report of a copy of all databases, one after another."""
    return aligned(
        ["database", "outcome", "tables", "size", "time"],
        (_database_outcome(one) for one in outcomes),
    )


def _database_outcome(one: DatabaseOutcome) -> list[str | int]:
    if one.error is not None:
        return [one.name, "failed", "", "", ""]
    if one.summary is None:
        return [one.name, "copied before", "", "", ""]
    summary = one.summary
    return [
        one.name,
        "copied",
        len(summary.tables),
        size(summary.bytes),
        duration(summary.total_seconds),
    ]


def phase_summary(summary: PhaseSummary) -> str:
    """Return the report of one phase of a base copy: its steps, then what was done."""
    done = "\n".join(summary.done)
    return f"{_step_table(summary.steps)}\n\n{done}" if summary.steps else done


def _step_table(steps: Sequence[StepSummary]) -> str:
    return aligned(
        ["step", "start", "time", "transferred", "jobs"],
        (
            [
                step.name,
                time.strftime("%H:%M:%S", time.localtime(step.started)),
                Right("-") if step.finished is None else duration(step.seconds),
                size(step.bytes) if step.bytes else Right("-"),
                step.concurrency,
            ]
            for step in steps
        ),
    )


def follow_summary(summary: FollowSummary) -> str:
    """Return the report of a follow: how much was applied, and up to where."""
    end = "none" if summary.endpos is None else format_lsn(summary.endpos)
    return (
        f"{summary.transactions:,} transactions with {summary.changes:,} changes applied since the"
        f" capture began, up to {format_lsn(summary.applied_lsn)} (end position: {end})"
    )


def online_summary(summary: OnlineSummary, *, all_tables: bool = False) -> str:
    """Return the report of an online migration: its base copy, if one was made, and its follow."""
    followed = follow_summary(summary.follow)
    if summary.copy is None:
        return followed
    return f"{clone_summary(summary.copy, all_tables=all_tables)}\n{followed}"


def conflict_list(conflicts: Sequence[Conflict], *, as_json: bool) -> str:
    """Return the changes that were skipped or overwrote a row, in the order of their commits."""
    if as_json:
        return as_json_text(
            [asdict(conflict) | {"lsn": format_lsn(conflict.lsn)} for conflict in conflicts]
        )
    return aligned(
        ["commit", "transaction", "table", "change", "key", "action", "reason"],
        (
            [
                format_lsn(conflict.lsn),
                conflict.xid,
                f"{conflict.schema}.{conflict.table}",
                conflict.kind,
                conflict.key,
                conflict.action,
                conflict.reason,
            ]
            for conflict in conflicts
        ),
    )


def prune_summary(summary: PruneSummary) -> str:
    """Return which files of stored changes were removed, or would be, and how many stay."""
    verb = "would be removed" if summary.dry_run else "removed"
    count = len(summary.removed)
    freed = size(sum(file.bytes for file in summary.removed))
    stay = f"{summary.kept_files} file{_s(summary.kept_files)} with {size(summary.kept_bytes)} stay"
    lines = [f"{file.name}  {size(file.bytes)}" for file in summary.removed]
    position = format_lsn(summary.position)
    lines.append(f"{count} file{_s(count)} with {freed} {verb}, {stay} (applied up to {position})")
    return "\n".join(lines)


def _s(count: int) -> str:
    return "" if count == 1 else "s"


_POSITIONS = frozenset(
    {
        "startpos",
        "endpos",
        "write_lsn",
        "flush_lsn",
        "transform_lsn",
        "replay_lsn",
        "received_lsn",
        "source_lsn",
    }
)


def follow_progress(progress: FollowProgress, *, as_json: bool) -> str:
    """Return everything that is known of where a follow is."""
    members = asdict(progress)
    if as_json:
        members["lag_seconds"] = round(progress.lag_seconds, 3)
        return as_json_text(
            {
                name: format_lsn(value) if name in _POSITIONS else value
                for name, value in members.items()
            }
        )
    fields = {name: members[name] for name in members if name == "apply" or name in _POSITIONS}
    lines = {
        "lag": f"{size(progress.lag_bytes)}, {duration(progress.lag_seconds)}",
        "applied": f"{progress.transactions:,} transactions, {progress.changes:,} changes",
        "rate": f"{progress.transactions_per_second:,} transactions/s,"
        f" {progress.changes_per_second:,} changes/s",
    }
    width = max(map(len, fields))
    shown = "\n".join(f"{name:<{width}}  {text}" for name, text in lines.items())
    return f"{sentinel_fields(fields, as_json=False)}\n{shown}"


def progress_line(progress: FollowProgress) -> str:
    """Return where a follow is as one line of 80 columns, which is redrawn on a terminal."""
    end = f" of {format_lsn(progress.endpos)}" if progress.endpos else ""
    parts = [
        f"applied {format_lsn(progress.transform_lsn)}{end}",
        f"lag {size(progress.lag_bytes)}, {duration(progress.lag_seconds)}",
        f"{progress.transactions_per_second:,} transactions/s",
    ]
    if not end:
        parts.append(f"{progress.changes_per_second:,} changes/s")
    if not progress.apply and not progress.transform_lsn:
        parts = [f"stored {format_lsn(progress.flush_lsn)}", parts[1], "nothing applied yet"]
    return "  ".join(parts)


def sentinel_fields(values: Mapping[str, int | bool], *, as_json: bool) -> str:
    """Return fields of the sentinel; a single one stands alone, for a script to take."""
    texts: dict[str, Any] = {
        name: value if isinstance(value, bool) else format_lsn(value)
        for name, value in values.items()
    }
    if as_json:
        return as_json_text(texts)
    if len(texts) == 1:
        return _plain(next(iter(texts.values())))
    width = max(map(len, texts))
    return "\n".join(f"{name:<{width}}  {_plain(text)}" for name, text in texts.items())


def _plain(value: str | bool) -> str:
    if isinstance(value, bool):
        return "enabled" if value else "disabled"
    return value
