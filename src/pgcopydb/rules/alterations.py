"""Which alterations of a target table may have changed values that were applied to it."""

from pgcopydb.model.targets import TableShape


def alteration(before: TableShape, now: TableShape | None) -> str:
    """Say what was done to a table that may have changed values in it, or "" for nothing.

    A column that is altered to another type and back has its type again, but the table its rows in
    another file: so a table counts of which both changed. A default, say, changes the column alone,
    TRUNCATE and VACUUM FULL the file. New columns are none that anything was applied to.
    """
    if now is None:
        return "it is not there any more"
    there = {
        name: (type_name, number, version)
        for name, type_name, number, version in zip(
            now.columns, now.types, now.numbers, now.versions, strict=True
        )
    }
    again = False
    for name, type_name, number, version in zip(
        before.columns, before.types, before.numbers, before.versions, strict=True
    ):
        if name not in there:
            return f"it lost column {name}"
        type_now, number_now, version_now = there[name]
        if type_now != type_name:
            return f"column {name} is {type_now}, it was {type_name}"
        if number_now != number:
            return f"column {name} was dropped and made anew"
        again = again or version_now != version
    if again and (now.filenode != before.filenode or not now.filenode):
        return "columns were altered, and its rows written anew"
    return ""
