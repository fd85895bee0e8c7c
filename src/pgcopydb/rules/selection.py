"""What follows from filters: what cannot be without what they leave out, and what others need.

::

    left out by a rule ─► all that depends on it, transitively    (a view, a foreign key, a policy)
    a table that is taken ─► what it is made of, though its schema is left out    (a type)

Partitions follow their parent: with a parent that is taken or left out by name go all of its
partitions, and a partition that is taken by name brings its parent, without the other partitions.
A sequence that a column owns follows its table, unless the default of a table that is taken calls
it. All else in a schema that is left out goes, save what a taken table is made of.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Final

from msgspec import Struct, structs

from pgcopydb.errors import ConfigurationError, some_of
from pgcopydb.model.dependencies import CatalogObject, Key, Need
from pgcopydb.model.filters import EVERYTHING, QUALIFIED, Filters, Rule, Section, written_name

_WITH_ROWS: Final = frozenset("rpfm")
"""pg_class.relkind of what ``include-only-table`` chooses from."""

_STORED: Final = frozenset("rpf")

_SHOWN: Final = 50

_TABLE_KINDS: Final = frozenset("rpfmvS")
_INDEX_KINDS: Final = frozenset("iI")
_OWNING: Final = frozenset("aiPSe")
"""pg_depend.deptype of what belongs to another object and goes with it as a matter of course."""


class Dependent(Struct, frozen=True):
    """Something that is left out although no rule names it, and what it cannot be without."""

    key: Key
    needed: Key


class Selection(Struct, frozen=True):
    """What follows from the rules for one database.

    ``filters`` are the rules with the names that the catalogue added; ``left_out`` every object
    that is not made, and ``unowned`` the sequences that are made without the table that owns them.
    """

    filters: Filters
    left_out: frozenset[Key]
    unowned: frozenset[Key]
    gapped: frozenset[Key]
    """Tables that are made and lack rows that the source's have."""
    dependents: tuple[Dependent, ...]
    remarks: tuple[str, ...]
    """What a person should know, each as one line."""


NOTHING_LEFT_OUT: Final = Selection(EVERYTHING, frozenset(), frozenset(), frozenset(), (), ())
"""What follows from no rules."""


def select(filters: Filters, objects: Sequence[CatalogObject], needs: Iterable[Need]) -> Selection:
    """Return what ``filters`` make of a database of these ``objects``.

    Raises ConfigurationError for a rule whose name is not there, for an index that cannot be left
    out, and for a table to include that something left out prevents. The names of filters that are
    resolved were there once.
    """
    remarks = [] if filters.is_resolved else list(_check_names(filters, objects))
    filters = Filters(filters.rules, filters.origin)  # without what was found before
    graph = _Graph(objects, needs)
    tables = _tables_left_out(filters, graph)
    kept_indexes, index_remarks = _keep_indexes(filters, graph, tables)
    hard = tables | {
        one.key
        for one in objects
        if _is_left_out_by_name(filters, one) and one.key not in kept_indexes
    }
    soft = {one.key for one in objects if _yields(filters, graph, one)}
    rescued = _rescue(graph, hard, soft)
    needed_schemas = _needed_schemas(filters, graph, rescued, hard)
    schemas = {
        one.key
        for one in objects
        if one.kind == "schema"
        and one.name not in needed_schemas
        and not filters.selects_schema_by_rule(one.name)
    }
    roots = hard | (soft - rescued) | schemas
    out = _spread(graph, roots, rescued)
    _refuse_unfit_tables(filters, graph, out)
    completed = replace(
        filters,
        left_out=tuple(_left_out_names(filters, graph, out)),
        taken_in=tuple(_taken_in_names(filters, graph, out, kept_indexes)),
        needed_schemas=tuple(sorted(needed_schemas)),
        without_data=tuple(_without_data(filters, graph, out)),
        is_resolved=True,
    )
    return Selection(
        filters=completed,
        left_out=frozenset(out),
        unowned=frozenset(key for key in rescued if graph.owner(key) in out),
        gapped=frozenset(_gapped(completed, graph, out)),
        dependents=tuple(_dependents(graph, out, roots)),
        remarks=(*remarks, *index_remarks, *_partition_remarks(graph, out)),
    )


class _Graph:
    """The objects and what they need, looked up from both ends."""

    def __init__(self, objects: Iterable[CatalogObject], needs: Iterable[Need]) -> None:
        self.objects = {one.key: one for one in objects}
        self.needs: dict[Key, list[Need]] = defaultdict(list)
        self.needed_by: dict[Key, list[Need]] = defaultdict(list)
        for need in needs:
            self.needs[need.dependent].append(need)
            self.needed_by[need.needed].append(need)
        self.parents = {
            one.key: parent
            for one in self.objects.values()
            if one.is_partition and one.kind in _WITH_ROWS
            for parent in self._partitioned(one.key)
        }

    def _partitioned(self, key: Key) -> Iterator[Key]:
        for need in self.needs[key]:
            parent = self.objects.get(need.needed)
            if parent is not None and parent.kind == "p" and need.kind == "a":
                yield parent.key

    def ancestors(self, key: Key) -> Iterator[Key]:
        """Give the partitioned tables over a partition, the nearest first."""
        while (parent := self.parents.get(key)) is not None:
            yield parent
            key = parent

    def tables(self) -> Iterator[CatalogObject]:
        """Give all that ``include-only-table`` chooses from."""
        return (one for one in self.objects.values() if one.kind in _WITH_ROWS)

    def views(self, need: Need) -> Iterator[Key]:
        """Give the view, plain or materialised, whose query is what has a need."""
        for part in self.needs[need.dependent]:
            one = self.objects.get(part.needed)
            if part.is_part and part.needed != need.needed and one is not None and one.kind in "vm":
                yield part.needed

    def owner(self, sequence: Key) -> Key | None:
        """Return the table with the column that owns a sequence."""
        one = self.objects.get(sequence)
        if one is None or one.kind != "S":
            return None
        owners = [need.needed for need in self.needs[sequence] if need.kind in {"a", "i"}]
        return owners[0] if owners else None

    def is_shared(self, sequence: Key) -> bool:
        """Tell whether the default of another table than its owner calls a sequence."""
        owner = self.owner(sequence)
        return owner is not None and any(
            part.is_part and part.needed != owner
            for need in self.needed_by[sequence]
            for part in self.needs[need.dependent]
        )


# -- what the rules say by themselves ----------------------------------------------------------


def _in_schema(filters: Filters, one: CatalogObject) -> bool:
    return filters.selects_schema_by_rule(one.schema or "")


def _is_left_out_by_name(filters: Filters, one: CatalogObject) -> bool:
    """Tell whether a rule leaves out something other than a table."""
    schema, name = one.qualified
    match one.kind:
        case "extension":
            return not filters.selects_extension(name)
        case "event trigger":
            return not filters.selects_event_trigger(name)
        case "i" | "I":
            return filters.covers(Section.EXCLUDE_INDEX, schema, name)
        case "v":
            return not _in_schema(filters, one) or filters.covers(
                Section.EXCLUDE_TABLE, schema, name
            )
        case _:
            return False


def _yields(filters: Filters, graph: _Graph, one: CatalogObject) -> bool:
    """Tell whether a rule leaves something out unless a taken table is made of it."""
    if one.kind == "other":
        return not _in_schema(filters, one)
    if one.kind != "S" or graph.owner(one.key) is not None:
        return False
    return not _in_schema(filters, one) or filters.covers(Section.EXCLUDE_TABLE, *one.qualified)


def _tables_left_out(filters: Filters, graph: _Graph) -> frozenset[Key]:
    """Return the tables that the rules leave out, with the partitions that they name together."""
    named = {one.key for one in graph.tables() if filters.selects_table_by_rule(*one.qualified)}
    if all(rule.section is not Section.INCLUDE_TABLE for rule in filters.rules):
        return frozenset(one.key for one in graph.tables() if one.key not in named)
    with_partitions = {
        one.key for one in graph.tables() if any(key in named for key in graph.ancestors(one.key))
    }
    frames = {parent for key in named for parent in graph.ancestors(key)}
    taken = named | with_partitions | frames
    return frozenset(one.key for one in graph.tables() if one.key not in taken)


def _keep_indexes(
    filters: Filters, graph: _Graph, tables: frozenset[Key]
) -> tuple[frozenset[Key], list[str]]:
    """Return the indexes that stay although an expression means them: nothing works without.

    ``tables`` are left out, and their indexes with them.

    Raises ConfigurationError where the name itself is listed.
    """
    kept: list[CatalogObject] = []
    for one in graph.objects.values():
        if one.kind not in _INDEX_KINDS or not _is_left_out_by_name(filters, one):
            continue
        if any(need.needed in tables for need in graph.needs[one.key]):
            continue
        why = _why_indispensable(filters, graph, one)
        if not why:
            continue
        rule = _exact_rule(filters, Section.EXCLUDE_INDEX, one)
        if rule is not None:
            place = f"{filters.origin}, line {rule.line}"
            raise ConfigurationError(
                f"{place}: index {_label(one)} cannot be left out: {why}",
                hint="remove the line"
                + ("" if one.is_key else ", or list the index of the partitioned table instead"),
            )
        kept.append(one)
    if not kept:
        return frozenset(), []
    remark = (
        f"{filters.origin}: these indexes are made although [{Section.EXCLUDE_INDEX}] means them,"
        " because they are keys or belong to the index of a partitioned table: "
    )
    return frozenset(one.key for one in kept), [
        remark + some_of([_label(one) for one in kept], _SHOWN)
    ]


def _why_indispensable(filters: Filters, graph: _Graph, index: CatalogObject) -> str:
    if index.is_key:
        return "it is the table's primary key or replica identity"
    for need in graph.needs[index.key]:
        parent = graph.objects.get(need.needed)
        if (
            parent is not None
            and parent.kind == "I"
            and not filters.covers(Section.EXCLUDE_INDEX, *parent.qualified)
        ):
            return f"it belongs to the index {_label(parent)} of a partitioned table"
    return ""


def _exact_rule(filters: Filters, section: Section, one: CatalogObject) -> Rule | None:
    schema, name = one.qualified
    return next(
        (
            rule
            for rule in filters.rules
            if rule.section is section and rule.is_exact and rule.covers(schema, name)
        ),
        None,
    )


# -- what follows from them ----------------------------------------------------------------------


def _rescue(graph: _Graph, hard: frozenset[Key], soft: set[Key]) -> set[Key]:
    """Return what taken tables are made of, of that which is left out only with its schema.

    A sequence that another table owns counts too: the default of a taken table calls it.
    """
    seen: set[Key] = set()
    rescued: set[Key] = set()
    waiting = deque(
        one.key for one in graph.tables() if one.kind in _STORED and one.key not in hard
    )
    while waiting:
        key = waiting.popleft()
        if key in seen:
            continue
        seen.add(key)
        one = graph.objects.get(key)
        if key in soft or graph.is_shared(key):
            rescued.add(key)
        if one is None or one.kind != "S":  # a sequence does not need the table that owns it
            waiting.extend(
                need.needed
                for need in graph.needs[key]
                if need.needed not in hard and not _is_place(graph, need.needed)
            )
        waiting.extend(
            need.dependent
            for need in graph.needed_by[key]
            if need.dependent not in hard and (need.is_part or _is_index(graph, need.dependent))
        )
    return rescued


def _is_place(graph: _Graph, key: Key) -> bool:
    one = graph.objects.get(key)
    return one is not None and one.kind in {"schema", "extension"}


def _is_index(graph: _Graph, key: Key) -> bool:
    one = graph.objects.get(key)
    return one is not None and one.kind in _INDEX_KINDS


def _needed_schemas(
    filters: Filters, graph: _Graph, rescued: set[Key], hard: frozenset[Key]
) -> set[str]:
    """Return the schemas that are left out by rule and yet made, for what is needed in them."""
    homes = {graph.objects[key].schema or "" for key in rescued if key in graph.objects}
    homes |= {
        one.schema or ""
        for one in graph.objects.values()
        if one.kind == "extension" and one.key not in hard
    }
    known = {one.name for one in graph.objects.values() if one.kind == "schema"}
    return {name for name in homes & known if not filters.selects_schema_by_rule(name)}


def _spread(graph: _Graph, roots: Iterable[Key], rescued: set[Key]) -> dict[Key, Need | None]:
    """Return all that cannot be without ``roots``, each with the need that says why."""
    out: dict[Key, Need | None] = dict.fromkeys(roots)
    waiting = deque(out)
    while waiting:
        key = waiting.popleft()
        for need in graph.needed_by[key]:
            owned = need.dependent in rescued and graph.owner(need.dependent) == key
            if need.dependent not in out and not owned:
                out[need.dependent] = need
                waiting.append(need.dependent)
        for need in graph.needs[key]:
            if need.is_part and need.needed not in out:
                out[need.needed] = structs.replace(
                    need, dependent=need.needed, needed=_cause(out, key)
                )
                waiting.append(need.needed)
    return out


def _cause(out: Mapping[Key, Need | None], key: Key) -> Key:
    """Return what ``key`` is left out for: a part is not worth naming."""
    need = out[key]
    return key if need is None else need.needed


def _refuse_unfit_tables(filters: Filters, graph: _Graph, out: Mapping[Key, Need | None]) -> None:
    """Raise ConfigurationError for a table listed by its name that cannot be made."""
    for key, need in out.items():
        one = graph.objects.get(key)
        if one is None or one.kind not in _WITH_ROWS or need is None:
            continue
        rule = _exact_rule(filters, Section.INCLUDE_TABLE, one)
        if rule is not None:
            needed = graph.objects.get(need.needed)
            what = _label(needed) if needed is not None else "something that is left out"
            raise ConfigurationError(
                f"{filters.origin}, line {rule.line}: {rule} cannot be copied without {what}",
                hint=f"list {what} in [{Section.INCLUDE_TABLE}] too",
            )


# -- names and what to say of them -----------------------------------------------------------------


def _left_out_names(
    filters: Filters, graph: _Graph, out: Iterable[Key]
) -> Iterator[tuple[str, str]]:
    for one in _relations(graph, out):
        selects = (
            filters.selects_index if one.kind in _INDEX_KINDS else filters.selects_table_by_rule
        )
        if selects(*one.qualified):
            yield one.qualified


def _taken_in_names(
    filters: Filters, graph: _Graph, out: Mapping[Key, object], kept_indexes: Iterable[Key]
) -> Iterator[tuple[str, str]]:
    for one in _relations(graph, graph.objects.keys() - out.keys()):
        if one.kind in _TABLE_KINDS and not filters.selects_table_by_rule(*one.qualified):
            yield one.qualified
    for one in _relations(graph, kept_indexes):
        yield one.qualified


def _without_data(
    filters: Filters, graph: _Graph, out: Mapping[Key, object]
) -> Iterator[tuple[str, str]]:
    for one in _relations(graph, graph.parents.keys() - out.keys()):
        above = (graph.objects[key] for key in graph.ancestors(one.key))
        if any(filters.covers(Section.EXCLUDE_DATA, *parent.qualified) for parent in above):
            yield one.qualified
    unfilled = _unfilled(graph, [one for one in graph.tables() if _lacks_data(filters, one)])
    for one in _relations(graph, unfilled - out.keys()):
        yield one.qualified


def _lacks_data(filters: Filters, one: CatalogObject) -> bool:
    return filters.covers(Section.EXCLUDE_DATA, *one.qualified)


def _unfilled(graph: _Graph, without_data: Iterable[CatalogObject]) -> set[Key]:
    """Return the materialised views that read one that is not filled: no server can fill them."""
    waiting = deque(one.key for one in without_data if one.kind == "m")
    reached: set[Key] = set()
    while waiting:
        readers = {
            view for need in graph.needed_by[waiting.popleft()] for view in graph.views(need)
        }
        waiting.extend(readers - reached)
        reached |= readers
    return {key for key in reached if graph.objects[key].kind == "m"}


def _gapped(filters: Filters, graph: _Graph, out: Mapping[Key, object]) -> Iterator[Key]:
    """Give the tables that are made and lack rows, with those that they are partitions of."""
    for one in graph.tables():
        if one.key in out or not filters.copies_data(*one.qualified):
            yield one.key
            yield from graph.ancestors(one.key)


def _relations(graph: _Graph, keys: Iterable[Key]) -> list[CatalogObject]:
    found = (graph.objects.get(key) for key in keys)
    kinds = _TABLE_KINDS | _INDEX_KINDS
    return sorted(
        (one for one in found if one is not None and one.kind in kinds),
        key=lambda one: one.qualified,
    )


def _dependents(
    graph: _Graph, out: Mapping[Key, Need | None], roots: Iterable[Key]
) -> Iterator[Dependent]:
    """Give what a person would miss: not the parts of what is left out anyway."""
    named = set(roots)
    for key, need in out.items():
        if need is None or key in named:
            continue
        one = graph.objects.get(key)
        table = one is not None and one.kind in _WITH_ROWS
        owned = any(part.needed in out for part in graph.needs[key] if part.kind in _OWNING)
        part = any(other.is_part for other in graph.needs[key])
        if table or not (owned or part):
            yield Dependent(key, need.needed)


def _partition_remarks(graph: _Graph, out: Mapping[Key, Need | None]) -> Iterator[str]:
    alone = [
        _label(graph.objects[key])
        for key, parent in graph.parents.items()
        if key in out and parent not in out
    ]
    if alone:
        yield (
            "these partitions are left out while their parent is copied, so that it will lack"
            f" their rows: {some_of(sorted(alone), _SHOWN)}"
        )


# -- names that are not there --------------------------------------------------------------------


def _check_names(filters: Filters, objects: Iterable[CatalogObject]) -> Iterator[str]:
    """Raise ConfigurationError for a name that nothing has; give a remark for an expression."""
    names: dict[Section, set[tuple[str | None, str]]] = defaultdict(set)
    for one in objects:
        for section in _NAMING.get(one.kind, ()):
            names[section].add((one.schema if section in QUALIFIED else None, one.name))
    for rule in filters.rules:
        known = names[rule.section]
        if rule.is_exact:
            schema = rule.schema.text if rule.schema else None
            if (schema, rule.name.text) not in known:
                raise _unknown(filters, rule, known)
        elif not any(rule.covers(*name) for name in known):
            yield (
                f"{filters.origin}, line {rule.line}: nothing on the source matches {rule}"
                f" of [{rule.section}]"
            )


_OF_TABLES: Final = (Section.INCLUDE_TABLE, Section.EXCLUDE_TABLE, Section.EXCLUDE_DATA)

_NAMING: Final[Mapping[str, tuple[Section, ...]]] = {
    "schema": (Section.INCLUDE_SCHEMA, Section.EXCLUDE_SCHEMA),
    "extension": (Section.INCLUDE_EXTENSION, Section.EXCLUDE_EXTENSION),
    "event trigger": (Section.EXCLUDE_EVENT_TRIGGER,),
    **dict.fromkeys("iI", (Section.EXCLUDE_INDEX,)),
    **dict.fromkeys("vS", (Section.EXCLUDE_TABLE,)),
    **dict.fromkeys("rpfm", _OF_TABLES),
}
"""The sections that can name an object of each kind."""


_WHAT: Final = {
    Section.INCLUDE_SCHEMA: "schema",
    Section.EXCLUDE_SCHEMA: "schema",
    Section.EXCLUDE_INDEX: "index",
    Section.INCLUDE_EXTENSION: "extension",
    Section.EXCLUDE_EXTENSION: "extension",
    Section.EXCLUDE_EVENT_TRIGGER: "event trigger",
}


def _unknown(
    filters: Filters, rule: Rule, known: Iterable[tuple[str | None, str]]
) -> ConfigurationError:
    labels = {
        ".".join(written_name(part) for part in name if part is not None): name for name in known
    }
    nearest = _nearest(str(rule), labels)
    hint = f"did you mean {nearest}?" if nearest else "remove the line, or correct the name"
    return ConfigurationError(
        f"{filters.origin}, line {rule.line}: the source has no {_WHAT.get(rule.section, 'table')}"
        f" {rule}, which [{rule.section}] names",
        hint=hint,
    )


def _nearest(wanted: str, labels: Iterable[str]) -> str | None:
    """Return the label most like ``wanted``; upper and lower case, and quotes, hardly differ."""
    plain = {label.replace('"', "").lower(): label for label in sorted(labels)}
    sought = wanted.replace('"', "").lower()
    found = get_close_matches(sought, plain, n=1, cutoff=0.6)
    if not found:
        same_name = [one for one in plain if one.rpartition(".")[2] == sought.rpartition(".")[2]]
        found = same_name[:1]
    return plain[found[0]] if found else None


def _label(one: CatalogObject) -> str:
    return ".".join(written_name(part) for part in (one.schema, one.name) if part is not None)
