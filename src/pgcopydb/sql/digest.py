"""SQL that tells tables apart without moving their rows: the server hashes, we add up.

A row's hash is SHA-256 over the text of its named columns in UTF-8, because that value depends on
nothing but the text (ruling 26). 64 of its bits are summed up: a sum depends on no order of the
rows, and unlike an exclusive or it notices a row that is there thrice. Two tables that differ have
the same sum once in 2^64 cases.

To find the rows that differ, rows go into buckets by a hash of their key, not into ranges of keys:
two servers may order the same keys differently (collations), a hash needs no index, and a bucket
is as easily summed up as a table.
"""

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from pgcopydb.model.parts import Part
from pgcopydb.sql.copy import select_part
from pgcopydb.sql.quote import qualified_name, quote_identifier, quote_literal

MOST_BUCKETS = 1 << 16
"""A bucket's number is taken from two bytes of the hash."""

SHOWN_CHARACTERS = 60
"""A value that is shown ends here; one character more is read, which tells that there is more."""

_SAMPLE_CHARACTERS = 200


class ValueForm(Enum):
    """How a value goes into the text of its row."""

    PLAIN = auto()
    """As its type prints it."""
    BYTES = auto()
    """A bytea, by its hash: as text it may be too long for the server."""
    CODE = auto()
    """A "char", by its number: servers before 16 print those beyond ASCII as they are."""
    LONG = auto()
    """By the hash of its text, for tables with rows too long for one text."""


class ComparedColumn(Struct, frozen=True):
    """A column that both sides have, and how its values go into the hash on both."""

    name: str
    form: ValueForm = ValueForm.PLAIN


_FORMS: Final = {"bytea": ValueForm.BYTES, '"char"': ValueForm.CODE}


def compared_column(name: str, ours: str, theirs: str) -> ComparedColumn:
    """Return how a column is compared that is of the types ``ours`` and ``theirs``."""
    form = _FORMS.get(ours) if ours == theirs else None
    return ComparedColumn(name, form or ValueForm.PLAIN)


def with_long_values(columns: Iterable[ComparedColumn]) -> tuple[ComparedColumn, ...]:
    """Return the columns as they are compared where a row is too long for one text."""
    return tuple(
        replace(column, form=ValueForm.LONG) if column.form is ValueForm.PLAIN else column
        for column in columns
    )


class RowText(Struct, frozen=True):
    """Which columns of a table are compared, and by which a row is known on both sides.

    Without ``key`` a row is known by all its values. ``as_stored`` takes the bytes of a SQL_ASCII
    database as they are, because they may be in no encoding at all.
    """

    columns: tuple[ComparedColumn, ...]
    key: tuple[str, ...] = ()
    as_stored: bool = False

    @property
    def may_be_too_long(self) -> bool:
        """Whether values go into a row's text whole, so that hashing them first makes it short."""
        return any(column.form is ValueForm.PLAIN for column in self.columns)

    def row_hash(self) -> str:
        """Return the expression of a row's hash."""
        return self._hash(self._row())

    def key_hash(self) -> str:
        """Return the expression of the hash that puts a row into a bucket."""
        keys = ", ".join(map(quote_identifier, self.key))
        return self._hash(f"row({keys})::pg_catalog.text") if self.key else self.row_hash()

    def value_hash(self, column: ComparedColumn) -> str:
        """Return the expression of a single value's hash."""
        return self._hash(_text(self._value(column)))

    def sample(self) -> str:
        """Return the expression of a row as a person may know it by, cut to a bearable length."""
        return f"pg_catalog.left({self._row()}, {_SAMPLE_CHARACTERS})"

    def _row(self) -> str:
        return f"row({', '.join(map(self._value, self.columns))})::pg_catalog.text"

    def _value(self, column: ComparedColumn) -> str:
        name = quote_identifier(column.name)
        match column.form:
            case ValueForm.PLAIN:
                return name
            case ValueForm.BYTES:
                return f"pg_catalog.sha256({name})"
            case ValueForm.CODE:
                return f"{name}::pg_catalog.int4"
            case ValueForm.LONG:
                return self._hash(_text(name))

    def _hash(self, text: str) -> str:
        if self.as_stored:
            return f"pg_catalog.sha256(pg_catalog.textsend({text}))"
        return f"pg_catalog.sha256(pg_catalog.convert_to({text}, 'UTF8'))"


class Stretch(Struct, frozen=True):
    """A part of a table's own rows, and how each becomes text."""

    schema: str
    table: str
    text: RowText
    part: Part = field(default_factory=Part)

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"

    def select(self) -> str:
        """Return the query of the compared columns of its rows."""
        columns = tuple(column.name for column in self.text.columns)
        return f"({select_part(self.schema, self.table, columns, self.part)}) as part"


def word(digest: str) -> str:
    """Return the expression of the 64 bits of a SHA-256 that are summed up, as an int8."""
    return (
        f"('x' operator(pg_catalog.||) pg_catalog.left(pg_catalog.encode({digest}, 'hex'), 16)"
        ")::pg_catalog.bit(64)::pg_catalog.int8"
    )


def digest_of_part(part: Stretch) -> str:
    """Return the query of the number of a part's rows, and of the sum of their hashes."""
    return f"{_digest(part.text)} from {part.select()}"


def digest_with_children(schema: str, table: str, text: RowText) -> str:
    """Return the same query of a whole table with all its partitions."""
    return f"{_digest(text)} from {qualified_name(schema, table)}"


def digests_of_buckets(part: Stretch, buckets: int) -> str:
    """Return the query of the same for each bucket of a part: number, rows, sum."""
    return (
        f"select {_bucket('key_hash', buckets)}, pg_catalog.count(*),"
        f" pg_catalog.sum({word('row_hash')})::pg_catalog.text"
        f" from (select {part.text.key_hash()} as key_hash, {part.text.row_hash()} as row_hash"
        # A fence: each hash is computed once.
        f" from {part.select()} offset 0) as hashed group by 1"
    )


def rows_of_buckets(part: Stretch, buckets: int, chosen: Sequence[int]) -> str:
    """Return the query of the rows of some buckets: key as text, hash, number, sample.

    A table without key has no key to show, and equal rows come as one with their number.
    """
    text = part.text
    numbers = ", ".join(str(int(number)) for number in chosen)
    condition = f"{_bucket(text.key_hash(), buckets)} in ({numbers})" if numbers else "true"
    source = f"from {part.select()} where {condition}"
    hashed = word(text.row_hash())
    if text.key:
        return f"select {_key_texts(text)}, {hashed}, 1, '' {source}"
    return (
        f"select array[]::pg_catalog.text[], {hashed}, pg_catalog.count(*),"
        f" pg_catalog.min({text.sample()}) {source} group by 2"
    )


def values_of_rows(
    table: Stretch, keys: Sequence[Sequence[str]], key_types: Sequence[str], *, with_children: bool
) -> str:
    """Return the query of the values of rows, by the texts of their ``keys``.

    Gives the key, and for each compared column its beginning as text and the hash of the whole.
    """
    text = table.text
    names = [f"k{number}" for number in range(len(text.key))]
    # Literals become values by the input functions of their types. A cast from text may be the
    # own one of a type's owner.
    wanted = ", ".join(
        "("
        + ", ".join(
            f"{quote_literal(one)}::{kind}" for one, kind in zip(key, key_types, strict=True)
        )
        + ")"
        for key in keys
    )
    condition = " and ".join(
        f"one.{quote_identifier(column)} = wanted.{name}"
        for column, name in zip(text.key, names, strict=True)
    )
    shown = SHOWN_CHARACTERS + 1
    beginnings = ", ".join(
        f"pg_catalog.left({_text(quote_identifier(column.name))}, {shown})"
        for column in text.columns
    )
    hashes = ", ".join(word(text.value_hash(column)) for column in text.columns)
    only = "" if with_children else "only "
    return (
        f"select {_key_texts(text)}, array[{beginnings}], array[{hashes}]"
        f" from {only}{qualified_name(table.schema, table.table)} as one"
        f" join (values {wanted}) as wanted ({', '.join(names)}) on {condition}"
    )


def _text(value: str) -> str:
    """Return the expression of a value as its type prints it, null for null.

    A cast to text would call the function that the owner of the type has made for it, if any.
    """
    return f"case pg_catalog.num_nulls({value}) when 0 then pg_catalog.format('%s', {value}) end"


def _digest(text: RowText) -> str:
    return (
        f"select pg_catalog.count(*), coalesce(pg_catalog.sum({word(text.row_hash())}), 0)"
        "::pg_catalog.text"
    )


def _key_texts(text: RowText) -> str:
    keys = ", ".join(_text(quote_identifier(name)) for name in text.key)
    return f"array[{keys}]"


def _bucket(digest: str, buckets: int) -> str:
    return (
        f"(pg_catalog.get_byte({digest}, 0) << 8 | pg_catalog.get_byte({digest}, 1)) & "
        f"{buckets - 1:d}"
    )
