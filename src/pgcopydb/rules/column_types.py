"""Does a column of the target take what the source's column prints? By the names of the types.

The plugins call one type by different names (``public.mood[]`` and ``public._mood``, a domain by
what it is made of), and a type of an extension may live in another schema on the other side. So
names are compared without schema and quotes, and a doubt lets the column pass: whatever the source
then sends that does not fit fails on the target, and the comparison at the end finds the rest.
"""

import re
from collections.abc import Iterable
from typing import Final

from pgcopydb.model.targets import TargetColumn

_MODIFIER: Final = re.compile(r"\(.*?\)")

_WIDENED: Final = {
    "smallint": {"integer", "bigint", "numeric"},
    "integer": {"bigint", "numeric"},
    "bigint": {"numeric"},
    "character varying": {"text"},
}
"""Types that take every value of another one and print it alike."""


def takes(column: TargetColumn, type_name: str, modifier: int | None) -> bool:
    """Tell whether ``column`` stores every value of the source's type as the source prints it.

    ``type_name`` is a relation's ("" when the plugin does not say), ``modifier`` its modifier: None
    where it is not known, -1 for none. A target without modifier takes any.
    """
    if not type_name or not column.type_names:
        return True
    source, target = _key(type_name), _keys(column.type_names)
    if source not in target:
        return column.modifier == -1 and not target.isdisjoint(_WIDENED.get(source, ()))
    return modifier is None or column.modifier in {-1, modifier}


def _keys(names: Iterable[str]) -> set[str]:
    """Return by what a type of these names can be called; an array's name begins with ``_``."""
    keys = {_key(name) for name in names}
    return keys | {_unqualified(name) for name in names}


def _key(name: str) -> str:
    plain = _unqualified(name)
    # an array type is named after its elements, with as many underscores as make it unique
    return plain.lstrip("_") + "[]" if plain.startswith("_") else plain


def _unqualified(name: str) -> str:
    return _MODIFIER.sub("", name).replace('"', "").rpartition(".")[2]
