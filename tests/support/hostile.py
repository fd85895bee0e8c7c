"""Names that SQL, lists, logs, shells and file systems could take for something else."""

from typing import LiteralString

from psycopg import sql

from tests.support.servers import Database

NAMES = (
    *("a b", 'a"b', "a'b", "a\nb", "a\r\nb", "a\tb", "a\\b", "\\!touch x", "%s", "%(x)s", "$$"),
    *("$1", "x" * 63, "é" * 31, "\u202eabc", "../x", "-rf", "--x", "/*x*/", "; drop table t", "{}"),
    *(
        "{0}",
        ":x",
        ':"x"',
        "~/a/",
        "#x",
        ";x",
        "[x]",
        "x,y",
        "a.b",
        "A",
        "select",
        " lead",
        "trail ",
    ),
    *("\x01", "a\x0bb", "😀", '{"a":1}', "NULL", "\\N", "\\.", "a\u00a0b", "/etc/passwd", "`id`"),
    *("$(id)", "*", "?", "=", "<>", "e\u0301", "a\x7f", '"', '""', "'", "\\", "\n"),
)

_SHORT = 20
"""Characters of a name that leave room for a prefix, which tells apart what is in one schema."""

_OBJECTS = """
create schema {name} authorization {name}
comment on schema {name} is {text}
create type {name}.{e} as enum ({text}, 'b')
create domain {name}.{d} as int constraint {name} check (value > 0)
create type {name}.{c} as ({name} int)
create collation {name}.{name} from "C"
create sequence {name}.{s} start 7
create function {name}.{name}() returns trigger language plpgsql as 'begin return new; end'
create table {name}.{name} ({name} int primary key, {e} {name}.{e} unique,
  {t} text collate {name}.{name}, x int default nextval({sequence}) constraint {k} check (x <> -1))
create table {name}.{r} ({name} int generated always as identity primary key,
  r int constraint {f} references {name}.{name} on delete cascade)
insert into {name}.{name} values (1, {text}, {text}), (2, 'b', null), (3, null, '')
insert into {name}.{r} (r) values (1), (2)
create index {i} on {name}.{name} ({t})
create view {name}.{v} as select * from {name}.{name}
create materialized view {name}.{m} as select * from {name}.{v}
create trigger {name} before insert on {name}.{name} for each row execute function {name}.{name}()
create rule {name} as on delete to {name}.{r} do also nothing
create policy {name} on {name}.{name} to {name} using (true)
create statistics {name}.{u} on {name}, x from {name}.{name}
create publication {name} for table {name}.{r}
grant select ({name}) on {name}.{name} to {name}
comment on column {name}.{name}.{name} is {text}
alter table {name}.{name} owner to {name}
create table {name}.{p} (k int) partition by list (k)
create table {name}.{q} partition of {name}.{p} for values in (1)
create foreign data wrapper {name} options (a {text})
create server {name} foreign data wrapper {name} options (a {text})
create text search configuration {name}.{name} (copy = simple)
create event trigger {name} on ddl_command_end execute function public.nothing()
alter default privileges for role {name} in schema {name} grant select on tables to {name}
"""
_CHANGES = """
insert into {name}.{name} values (10, null, {text}), (11, null, null)
update {name}.{name} set {t} = {text} where {name} = 2
update {name}.{name} set {name} = 20 where {name} = 11
update {name}.{name} set {e} = null where {e} = {text}
delete from {name}.{name} where {name} = 3
insert into {name}.{r} (r) values (10)
insert into {name}.{p} values (1)
"""
"""A statement a line; a line that begins with spaces belongs to the one before."""


def create_objects(database: Database) -> None:
    """Make, for each of ``NAMES``, an object of every kind that is called so."""
    with database.connect() as session:
        session.execute(
            "create function public.nothing() returns event_trigger language plpgsql as 'begin end'"
        )
        for name in NAMES:
            # Those of an earlier database of the same server may be there.
            session.execute(
                sql.SQL(
                    "do $do$ begin create role {}; exception when duplicate_object then null;"
                    " end $do$"
                ).format(sql.Identifier(name))
            )
    _run(database, _OBJECTS)


def change_rows(database: Database) -> None:
    """Insert, update and delete rows of all their tables."""
    _run(database, _CHANGES)


def refresh_views(database: Database) -> None:
    """Fill the materialised views anew."""
    _run(database, "refresh materialized view {name}.{m}")


def filters() -> str:
    """Return rules that leave out, for each name, the table called so."""
    lines = []
    for name in NAMES:
        # A line is a name, so that of one with control characters an expression is written.
        expression = "~/^" + "".join(f"\\u{ord(letter):04x}" for letter in name) + "$/"
        part = quoted(name) if name.isprintable() else expression
        lines.append(f"{part}.{part}")
    return "\n".join(["[exclude-table]", *lines, ""])


def quoted(name: str) -> str:
    """Return a name as SQL and filters write it."""
    return '"' + name.replace('"', '""') + '"'


def _run(database: Database, script: LiteralString) -> None:
    statements = [sql.SQL(one) for one in script.strip().replace("\n  ", " ").split("\n")]
    with database.connect() as session:
        for name in NAMES:
            words: dict[str, sql.Composable] = {
                letter: sql.Identifier(letter + name[:_SHORT]) for letter in "cdefikmpqrstuv"
            }
            words |= {
                "name": sql.Identifier(name),
                "text": sql.Literal(name),
                "sequence": sql.Literal(f"{quoted(name)}.{quoted('s' + name[:_SHORT])}"),
            }
            for statement in statements:
                session.execute(statement.format(**words))
