-- Everything that can depend on a table which filters leave out, and what looks as if it did.
create schema app;
create schema util;
create schema old;
create schema "Odd ""Sch""ema.";

create type util.mood as enum ('fine', 'foul');
create type old.colour as enum ('red', 'green');
create function util.next_code() returns text language sql as $$ select 'c' || random() $$;
create function util.touch() returns trigger language plpgsql as $$ begin return new; end $$;
create sequence util.codes start 700;

-- what goes, and what goes with it
create table app.gone (id serial primary key, name text unique, secret text);
create table app.kept (
  id bigint generated always as identity primary key,
  gone_id int references app.gone,
  mood util.mood default 'fine',
  code text default util.next_code(),
  number bigint default nextval('util.codes'),
  borrowed int default nextval('app.gone_id_seq'),
  note text
);
comment on table app.gone is 'never seen';
comment on table app.kept is 'seen';
grant select (id) on app.gone to public;
grant select (id) on app.kept to public;
create table app.audit (id int primary key, kept_id bigint references app.kept, at timestamptz);
create index kept_note on app.kept (note);
create unique index kept_code on app.kept (code);
create statistics app.kept_statistics on gone_id, mood from app.kept;
create statistics app.gone_statistics on id, name from app.gone;

create view app.of_gone as select id, name from app.gone;
create view app.of_view as select g.name, k.note from app.of_gone g, app.kept k;
create view app.of_kept as select id, note from app.kept;
create materialized view app.filled as select count(*) as n from app.of_gone;
create materialized view app.filled_kept as select count(*) as n from app.kept;
create unique index filled_n on app.filled (n);
create function app.of_row(app.gone) returns text language sql as $$ select $1.name $$;
create function app.of_body() returns bigint language sql
  begin atomic select count(*) from app.gone; end;
create function app.unbound() returns bigint language sql as $$ select count(*) from pg_class $$;
create table app.holds_row (id int primary key, held app.gone);
create rule shadow as on insert to app.kept where new.note = 'shadow'
  do also insert into app.gone (name) values (new.note);
create rule quiet as on insert to app.audit where new.id < 0 do instead nothing;
create trigger touch before update on app.kept for each row execute function util.touch();
create policy only_gone on app.kept using (gone_id is null or gone_id in (select id from app.gone));
create policy only_moods on app.kept using (mood = 'fine');
create table app.child (extra int) inherits (app.gone);
create table app.typed_child (extra int) inherits (app.kept);
create table app.key_to_unique (name text references app.gone (name));
create publication shown for table only app.gone, only app.kept with (publish = 'insert');

-- partitions
create table app.measures (id int, day date, value numeric, primary key (id, day))
  partition by range (day);
create table app.measures_2024 partition of app.measures
  for values from ('2024-01-01') to ('2025-01-01');
create table old.measures_2023 partition of app.measures
  for values from ('2023-01-01') to ('2024-01-01');
create table app.measures_2025 partition of app.measures
  for values from ('2025-01-01') to ('2026-01-01') partition by list (id);
create table app.measures_2025_1 partition of app.measures_2025 for values in (1);
create index measures_value on app.measures (value);

-- a schema of its own
create table old.things (id int primary key, colour old.colour);
create function old.helper(int) returns int language sql immutable as $$ select $1 $$;
create table app.uses_old (id int primary key, colour old.colour, double int
  generated always as (old.helper(id)) stored);
create view old.looks_at_kept as select id from app.kept;

create table "Odd ""Sch""ema."."ta'ble %s" ("co""l" int primary key, v text);
create index "in%dex" on "Odd ""Sch""ema."."ta'ble %s" (v);

insert into app.gone (name) select 'g' || n from generate_series(1, 5) n;
insert into app.kept (gone_id, note) select n, 'note ' || n from generate_series(1, 5) n;
insert into app.audit select n, n, '2024-01-01' from generate_series(1, 3) n;
insert into app.child (name, extra) values ('child', 1);
insert into app.typed_child (id, note, extra) values (900, 'child', 1);
insert into app.holds_row select 1, g from app.gone g where id = 1;
insert into app.key_to_unique values ('g1');
insert into app.measures select n % 2 + 1, date '2023-06-01' + n, n from generate_series(0, 500) n;
insert into app.measures select 1, date '2025-06-01' + n, n from generate_series(0, 50) n;
insert into old.things values (1, 'red');
insert into app.uses_old values (1, 'green');
insert into "Odd ""Sch""ema."."ta'ble %s" values (1, 'x'), (2, 'y');
refresh materialized view app.filled;
refresh materialized view app.filled_kept;
analyze;
