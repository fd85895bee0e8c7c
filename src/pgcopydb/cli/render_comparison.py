"""Comparisons as text: one line for each thing that differs, or JSON."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Final
from unicodedata import normalize

from msgspec.structs import asdict

from pgcopydb.cli.render import as_json_text, duration, size
from pgcopydb.lsn import format_lsn
from pgcopydb.model.comparison import (
    ComparisonProgress,
    DataComparison,
    Found,
    Moment,
    ObjectDifference,
    RowDifference,
    SchemaComparison,
    TableDifference,
    ValueDifference,
)
from pgcopydb.runtime.logs import printable

_LONGEST: Final = 80
"""Characters of a property that are shown."""

_BEFORE: Final = 20
"""Of these, how many before the place where it begins to differ."""


def comparison_line(progress: ComparisonProgress) -> str:
    """Return how far a comparison is as one line, which is redrawn on a terminal."""
    share = 100 * progress.bytes_done // max(1, progress.bytes)
    parts = [
        f"compared {progress.tables_done:,} of {progress.tables:,} tables",
        f"{size(progress.bytes_done)} of {size(progress.bytes)} ({min(share, 100)} %)",
        f"{progress.different:,} different" if progress.different else "",
        printable(progress.now),
    ]
    return "  ".join(filter(None, parts))


def comparison(found: DataComparison | SchemaComparison, *, as_json: bool) -> str:
    """Return what a comparison found."""
    if isinstance(found, SchemaComparison):
        return schema_comparison(found, as_json=as_json)
    return data_comparison(found, as_json=as_json)


def database_heading(name: str, found: DataComparison | SchemaComparison | Found) -> str:
    """Return the line over what was found in one of several databases."""
    return f'database "{printable(name)}":' + (f" {found}" if isinstance(found, Found) else "")


def data_comparison(found: DataComparison, *, as_json: bool) -> str:
    """Return what a comparison of rows found, the differences first."""
    if as_json:
        return as_json_text(comparison_members(found))
    lines = [line for table in found.table_differences for line in _table_lines(table)]
    lines += _object_lines(found.object_differences)
    lines += _closing(found.source, found.target, found.notes)
    counts = (
        f"{_count(found.tables, 'table')} with {_count(found.rows, 'row')},"
        f" {_count(found.sequences, 'sequence')} and"
        f" {_count(found.large_objects, 'large object')} compared in {duration(found.seconds)}"
    )
    different = len(found.table_differences), len(found.object_differences)
    return "\n".join([*lines, f"{counts}: {_verdict(*different)}"])


def schema_comparison(found: SchemaComparison, *, as_json: bool) -> str:
    """Return what a comparison of definitions found, one line for each object that differs."""
    if as_json:
        return as_json_text(comparison_members(found))
    lines = _object_lines(found.differences)
    lines += _closing(found.source, found.target, found.notes)
    counts = f"{_count(found.objects, 'object')} compared in {duration(found.seconds)}"
    count = len(found.differences)
    verdict = f"{count:,} differ{'s' if count == 1 else ''}" if count else "all equal"
    return "\n".join([*lines, f"{counts}: {verdict}"])


def comparison_members(found: DataComparison | SchemaComparison | Found) -> dict[str, object]:
    """Return what a comparison found, for JSON; of a database that a side lacks just that."""
    if isinstance(found, Found):
        return {"equal": False, "found": found}
    members = {"equal": found.is_equal, **asdict(found)}
    for side in ("source", "target"):
        facts = asdict(members[side])
        lsn = facts["lsn"]
        members[side] = facts | {"lsn": None if lsn is None else format_lsn(lsn)}
    members["seconds"] = round(found.seconds, 3)
    return members


def _verdict(tables: int, objects: int) -> str:
    parts = [
        _count(tables, "table") if tables else "",
        _count(objects, "other object") if objects else "",
    ]
    shown = " and ".join(filter(None, parts))
    return f"{shown} differ{'s' if tables + objects == 1 else ''}" if shown else "all equal"


def _closing(source: Moment, target: Moment, notes: Iterable[str]) -> Iterator[str]:
    yield from (f"note: {printable(note)}" for note in notes)
    for moment in (source, target):
        lsn = "" if moment.lsn is None else f", log at {format_lsn(moment.lsn)}"
        yield (
            f'{moment.side}: PostgreSQL {moment.version}, database "{printable(moment.database)}",'
            f" as of {moment.time}{lsn}"
        )


def _table_lines(table: TableDifference) -> Iterator[str]:
    name = printable(f"{table.schema}.{table.name}")
    yield f"table {name}: {printable('; '.join(_table_reasons(table)))}"
    for row in table.rows:
        yield f"  {_row_line(row)}"
    if table.more:
        yield "  and others: see them with a larger --max-rows"


def _table_reasons(table: TableDifference) -> Iterator[str]:
    yield from table.reasons
    if table.source_rows is None or table.target_rows is None:
        return
    if table.source_rows != table.target_rows:
        yield f"{_rows(table)} on the source, {table.target_rows:,} on the target"
    elif table.rows:
        count = f"{len(table.rows):,}{' or more' if table.more else ''}"
        yield f"{count} of {_rows(table)} differ{'s' if count == '1' else ''}"
    elif not table.reasons:
        yield f"its {_rows(table)} are not the same"


def _rows(table: TableDifference) -> str:
    return _count(table.source_rows or 0, "row")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _row_line(row: RowDifference) -> str:
    name = ", ".join(f"{column} = {value}" for column, value in row.key) or f"row {row.sample}"
    return f"{printable(name)}: {_found(row)}"


def _found(row: RowDifference) -> str:
    if row.values:
        return ", ".join(map(_value, row.values))
    if max(row.source_count, row.target_count) > 1:
        return f"{_times(row.source_count)} on the source, {_times(row.target_count)} on the target"
    return row.found


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count:,} times")


def _object_lines(differences: Iterable[ObjectDifference]) -> list[str]:
    return [_object_line(one) for one in differences]


def _object_line(one: ObjectDifference) -> str:
    values = "; ".join(_property(value) for value in one.values)
    return f"{one.kind} {printable(one.name)}: {values or one.found}"


def _property(value: ValueDifference) -> str:
    """Return a property on both sides, of a long one only the place where it begins to differ."""
    if value.source is None or value.target is None:
        source, target = (_beginning(text) for text in (value.source, value.target))
    else:
        source, target = _around_difference(_one_line(value.source), _one_line(value.target))
    return f"{printable(value.name)} {source} -> {target}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _beginning(text: str | None) -> str:
    if text is None:
        return "(none)"
    line = _one_line(text)
    return printable(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…")


def _around_difference(one: str, other: str) -> tuple[str, str]:
    if one == other:
        return "(in white space only)", "(in white space only)"
    if max(len(one), len(other)) <= _LONGEST:
        return printable(one), printable(other)
    pairs = enumerate(zip_longest(one, other))
    start = max(0, next(place for place, (left, right) in pairs if left != right) - _BEFORE)
    return _excerpt(one, start), _excerpt(other, start)


def _excerpt(text: str, start: int) -> str:
    before = "…" if start else ""
    after = "…" if len(text) > start + _LONGEST else ""
    return printable(f"{before}{text[start : start + _LONGEST]}{after}")


def _value(value: ValueDifference) -> str:
    name = printable(value.name)
    if value.source is None or value.target is None:
        return f"{name} {_shown(value.source)} -> {_shown(value.target)}"
    if value.source == value.target:
        return f"{name} differs after {_shown(value.source)}"
    if normalize("NFC", value.source) == normalize("NFC", value.target):
        # They look the same.
        return f"{name} {value.source!a} -> {value.target!a}"
    return f"{name} {_shown(value.source)} -> {_shown(value.target)}"


def _shown(text: str | None) -> str:
    return "NULL" if text is None else printable(repr(text) if _is_odd(text) else text)


def _is_odd(text: str) -> bool:
    """Tell whether a text needs quotes to be seen as it is."""
    return not text or text != text.strip() or text in {"NULL", "->"}
