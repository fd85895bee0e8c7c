-- Objects of the kinds that objects.sql lacks, and what can be said of any: owners, privileges,
-- comments. The roles are made by whoever runs this.

create schema made;
alter schema made owner to made_owner;
create domain made.code as text collate "C" default 'x' not null check (value <> '');
create type made.span as range (subtype = float8, subtype_diff = float8mi);
create type made.colour as enum ('red', 'green');
comment on type made.colour is 'of light';
create function made.plus(integer, integer) returns integer language sql immutable as 'select $1 + $2';
create procedure made.noop() language plpgsql as 'begin end';
create function made.body(a integer) returns integer language sql begin atomic select a + 1; end;
create aggregate made.total(integer) (sfunc = made.plus, stype = integer, initcond = '0');
comment on aggregate made.total(integer) is 'sum';
create operator made.|+| (leftarg = integer, rightarg = integer, function = made.plus, commutator = operator(made.|+|));
create operator family made.few using btree;
create operator family made.many using hash;
create operator class made.ops for type integer using hash family made.many as operator 1 =, function 1 pg_catalog.hashint4(integer);
create type made.pair as (a integer, b text collate "C");
create function made.to_text(made.pair) returns text language sql immutable as 'select $1.b';
create cast (made.pair as text) with function made.to_text(made.pair) as assignment;
create collation made.german (provider = libc, locale = 'C');
create conversion made.latin for 'LATIN1' to 'UTF8' from iso8859_1_to_utf8;
create text search dictionary made.plain (template = pg_catalog.simple, stopwords = english);
create text search configuration made.words (copy = pg_catalog.simple);
alter text search configuration made.words alter mapping for word with made.plain;
create foreign data wrapper wrapper options (a 'b');
create server elsewhere type 't' foreign data wrapper wrapper options (host 'h');
create user mapping for made_owner server elsewhere options (password 'secret');
create foreign table made.away (id integer options (column_name 'x')) server elsewhere options (name 'y');

create table made.main (
    id integer generated always as identity primary key,
    a integer not null default 5,
    b text collate "C" default 'b',
    c numeric(10,2),
    d text generated always as (b || 'd') stored,
    e made.code,
    f integer unique deferrable,
    gone integer,
    constraint positive check (a > 0),
    constraint apart exclude using btree (c with =)
) with (fillfactor = 80, autovacuum_enabled = false, toast.autovacuum_enabled = false);
create table made.other (id integer primary key, main integer constraint to_main references made.main, note text);
create table made.late (id integer);
create table made.spare (id integer, b text, c text);
create unlogged table made.fast (id integer);
create index main_a on made.main (a) where a > 1;
create index main_b on made.main (lower(b));
create statistics made.main_statistics on a, b from made.main;
create view made.seen as select id, a from made.main;
create view made.joined as select m.id, o.note from made.main m join made.other o on o.main = m.id;
create materialized view made.kept as select a, count(*) from made.main group by a;
create rule quiet as on insert to made.late do instead nothing;
create function made.on_change() returns trigger language plpgsql as 'begin return new; end';
create trigger changed before update on made.main for each row execute function made.on_change();
create trigger removed after delete on made.main for each statement execute function made.on_change();
alter table made.main enable row level security;
create policy mine on made.main for select to made_reader using (a > 1);
create table made.parts (id integer, v text) partition by list (id);
create table made.part_1 partition of made.parts for values in (1);
create table made.part_2 partition of made.parts for values in (2);
create trigger of_parts after insert on made.parts for each row execute function made.on_change();
create table made.trunk (id integer, v text) partition by list (id);
create table made.branch partition of made.trunk for values in (1) partition by list (v);
create table made.bough partition of made.branch for values in ('b') partition by hash (id);
create table made.apple partition of made.bough for values with (modulus 1, remainder 0);
create trigger of_trunk after insert on made.trunk for each row execute function made.on_change();
alter table only made.apple disable trigger of_trunk;
create trigger of_branch after insert on made.trunk for each row execute function made.on_change();
alter table only made.branch disable trigger of_branch;
alter table only made.apple enable always trigger of_branch;
create sequence made.numbers increment 3 cache 2;
create publication made_changes for table made.main (id, a) where (a > 3) with (publish = 'insert');
create function made.on_ddl() returns event_trigger language plpgsql as 'begin end';
create event trigger made_ddl on ddl_command_start when tag in ('CREATE TABLE') execute function made.on_ddl();
alter default privileges for role made_owner in schema made grant select on tables to made_reader;
alter default privileges for role made_owner revoke execute on functions from public;
grant usage on schema made to made_reader;
grant select, insert on made.main to made_reader with grant option;
grant select (note) on made.other to made_reader;
grant execute on function made.plus to made_reader;
revoke execute on function made.plus from public;
grant usage on sequence made.numbers to made_reader;
comment on schema made is 'made';
comment on table made.main is 'main';
comment on column made.main.a is 'a';
comment on constraint positive on made.main is 'above zero';
comment on index made.main_a is 'index';
comment on trigger changed on made.main is 'trigger';
comment on view made.seen is 'view';
comment on event trigger made_ddl is 'event trigger';
alter table made.main alter b set storage external, alter b set statistics 50, alter a set (n_distinct = 3);
select lo_create(4711);
alter large object 4711 owner to made_owner;
comment on large object 4711 is 'blob';

-- What versions print differently, or no dump keeps: see rules/definitions.py.
create function made.half(integer) returns integer language sql immutable as 'select $1 / 2';
create aggregate made.halves(integer) (sfunc = made.plus, stype = integer, finalfunc = made.half);
create function made.alike(integer, integer) returns boolean language sql immutable as 'select $1 = $2';
create operator made.=== (leftarg = integer, rightarg = integer, function = made.alike, negator = operator(made.!==));
create table made.words ("json" text, "text" text, merge_action integer);
create view made.of_words as select w."json" from made.words w where w."text" <> '"json"';
create rule aliased as on update to made.words do also update made.spare as s set c = 'x' where s.id = new.merge_action;
grant all on made.words to made_reader;
create table made.above (id integer);
create table made.below (own integer) inherits (made.above);
alter table made.above add added integer;
