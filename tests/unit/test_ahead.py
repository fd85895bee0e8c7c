"""Which tables are made before the others, and with what."""

from pgcopydb.rules.ahead import choose
from pgcopydb.rules.toc import parse_list

LISTED = """\
1; 2615 100 SCHEMA - app owner
2; 1247 101 TYPE app mood owner
;\tdepends on: 1
10; 1259 110 TABLE app plain owner
;\tdepends on: 1 2
11; 1259 111 SEQUENCE app plain_id_seq owner
;\tdepends on: 1 10
12; 0 0 SEQUENCE OWNED BY app plain_id_seq owner
;\tdepends on: 11 10
13; 1259 113 TABLE app seen owner
;\tdepends on: 1
14; 1259 114 VIEW app view owner
;\tdepends on: 13 1
15; 1259 115 TABLE app parent owner
;\tdepends on: 1
16; 1259 116 TABLE app child owner
;\tdepends on: 1 15
17; 1259 117 TABLE app leaf owner
;\tdepends on: 1
18; 1259 0 TABLE ATTACH app leaf owner
;\tdepends on: 17 15
19; 1255 119 FUNCTION app late() owner
;\tdepends on: 1
20; 1259 120 TABLE app calling owner
;\tdepends on: 1 19
23; 3079 123 EXTENSION - cubes owner
;\tdepends on: 1
24; 1247 124 DOMAIN app checked owner
;\tdepends on: 1 19
25; 1259 125 TABLE app cubic owner
;\tdepends on: 1 23
26; 1259 126 TABLE app of_domain owner
;\tdepends on: 1 24
27; 1259 127 TABLE app alone owner
;\tdepends on: 1 2
21; 2604 121 DEFAULT app plain id owner
;\tdepends on: 11 10
22; 0 0 ACL app TABLE plain owner
;\tdepends on: 10
"""

ENTRIES = parse_list(LISTED)
EVERY = [110, 113, 115, 116, 117, 120, 125, 126, 127]


def test_a_table_comes_with_what_belongs_to_it_and_what_it_needs() -> None:
    ahead = choose(ENTRIES, [110], count=5)
    assert [entry.dump_id for entry in ahead.first] == [1, 2, 10, 11, 12, 21, 22]
    assert ahead.tables == {110}


def test_tables_that_the_rest_would_lock_or_that_call_something_are_passed_over() -> None:
    assert choose(ENTRIES, EVERY, count=9).tables == {110, 127}


def test_what_a_table_needs_is_made_before_it() -> None:
    first = [entry.dump_id for entry in choose(ENTRIES, [127], count=5).first]
    assert first == [1, 2, 27]


def test_no_more_than_wanted_and_in_the_order_wanted() -> None:
    assert choose(ENTRIES, [127, 110], count=1).tables == {127}


def test_nothing_is_lost_and_the_order_is_kept() -> None:
    ahead = choose(ENTRIES, EVERY, count=5)
    place = {entry.dump_id: number for number, entry in enumerate(ENTRIES)}
    for half in (ahead.first, ahead.rest):
        places = [place[entry.dump_id] for entry in half]
        assert places == sorted(places)
    assert sorted(entry.dump_id for entry in (*ahead.first, *ahead.rest)) == sorted(place)


def test_each_half_needs_nothing_that_comes_later() -> None:
    ahead = choose(ENTRIES, EVERY, count=5)
    made: set[int] = set()
    for entry in (*ahead.first, *ahead.rest):
        assert made.issuperset(entry.depends)
        made.add(entry.dump_id)
