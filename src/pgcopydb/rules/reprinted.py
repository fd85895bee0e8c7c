"""What PostgreSQL prints otherwise when its own text is read again.

A clone is made from what the source prints. Some of that is taken to pieces in another way than the
user's statement was, means the same, and is printed in another way by the target: for good, for its
own text it reads as it was.
"""

import re
from collections.abc import Iterator
from typing import Final

_NAME: Final = r"""[A-Za-z_\u0080-\U0010ffff][\w$]*|"(?:[^"]|"")*\""""

_LITERAL: Final = r"'(?:[^']|'')*'"

_TYPE: Final = (
    rf"(?:(?:{_NAME})\.)?(?P<type>{_NAME})(?P<rest> varying| precision|)(?:\([\d,]+\))?"
    r"(?P<zone> with(?:out)? time zone|)"
)

_CALLED_BY_TYPE: Final = re.compile(
    rf"(?P<cast>(?:{_LITERAL})?::{_TYPE}(?:\[\])*) AS (?P<name>{_NAME})|{_LITERAL}"
)

_ARRAY: Final = "(ARRAY["

_CAST_ARRAY: Final = re.compile(rf"\]\)::(?P<all>{_TYPE})\[\]")

_PIECE: Final = re.compile(rf'{_LITERAL}|"(?:[^"]|"")*"|(?P<mark>[\[\](),])')

_TYPE_NAMES: Final = {
    "bigint": "int8",
    "bit varying": "varbit",
    "boolean": "bool",
    "character": "bpchar",
    "character varying": "varchar",
    "double precision": "float8",
    "integer": "int4",
    "real": "float4",
    "smallint": "int2",
    "time with time zone": "timetz",
    "time without time zone": "time",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
}
"""What the types are called in the catalogue that are printed by another name."""


def as_read_again(text: str) -> str:
    """Return SQL that a server printed as one would print it that has read it."""
    if " AS " in text and "::" in text:
        text = _CALLED_BY_TYPE.sub(_without_name, text)
    place = text.find(_ARRAY)
    while place >= 0:
        text = _with_cast_elements(text, place)
        place = text.find(_ARRAY, place + 1)
    return text


def _without_name(found: re.Match[str]) -> str:
    """Leave out the name that a value gets from the type that it is cast to.

    What has no name, such as ``NULL::integer`` after the first SELECT of a UNION, is called by its
    type then.
    """
    if found["cast"] is None:
        return found.group()
    printed = f"{_unquoted(found['type'])}{found['rest']}{found['zone']}"
    implied = _unquoted(found["name"]) == _TYPE_NAMES.get(printed, printed)
    return found["cast"] if implied else found.group()


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _with_cast_elements(text: str, place: int) -> str:
    """Cast the elements of the array at ``place`` in place of the whole.

    A varchar that is compared with a list, ``v IN ('a', 'b')``, is printed with a list of varchar
    that is cast to ``text[]``; that is read as a list of what is cast to text.
    """
    start = place + len(_ARRAY)
    *cuts, end = _ends_of_elements(text, start)
    cast = _CAST_ARRAY.match(text, end)
    if cast is None:
        return text
    starts = [start, *(cut + 1 for cut in cuts)]
    elements = [text[a:b].strip() for a, b in zip(starts, [*cuts, end], strict=True)]
    listed = ", ".join(f"({element})::{cast['all']}" for element in elements)
    return f"{text[:place]}ARRAY[{listed}]{text[cast.end() :]}"


def _ends_of_elements(text: str, start: int) -> Iterator[int]:
    """Yield where the elements end of an array whose first begins at ``start``, the last one last.

    What is no array, but stands in a text, ends where the text does.
    """
    depth = 0
    for piece in _PIECE.finditer(text, start):
        mark = piece["mark"]
        if mark == "," and depth == 0:
            yield piece.start()
        elif mark in {"[", "("}:
            depth += 1
        elif mark in {"]", ")"} and depth > 0:
            depth -= 1
        elif mark in {"]", ")"}:
            yield piece.start()
            return
    yield len(text)
