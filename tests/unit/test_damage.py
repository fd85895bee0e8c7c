"""Files of a work directory with a bit, a piece or an end that is wrong: it is never believed.

What can still be read of one is what was written, or less of its end; anything else is an error
that names the file. ``DAMAGES`` says how many places are tried (60), ``CAMPAIGN_SEED`` which.
"""

import os
import shutil
import sqlite3
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pgcopydb.errors import StateError
from pgcopydb.pgtools.files import checksum_of
from pgcopydb.workdir.changelog import ChangelogReader, ChangelogWriter, pack_messages, stored_end
from pgcopydb.workdir.jobs import JobQueue, NewJob
from pgcopydb.workdir.sentinel import create_sentinel, read_sentinel, update_sentinel
from pgcopydb.workdir.store import (
    RunHeader,
    connect_sqlite,
    open_store,
    read_fact,
    read_header,
    refuse_damaged,
    write_fact,
    write_header,
)

DAMAGES = int(os.environ.get("DAMAGES", "60"))
SEED = int(os.environ.get("CAMPAIGN_SEED", "1"))

_MOST_SLICES = 3


def damage(path: Path, random: Random) -> str:
    """Flip a bit, write over a piece, or cut off the end; return what was done."""
    size = path.stat().st_size
    place = random.randrange(size)
    way = random.choice(["bit", "bit", "bit", "piece", "end"])
    if way == "end":
        os.truncate(path, place)
        return f"cut off at {place} of {size}"
    with path.open("r+b") as file:
        file.seek(place)
        old = file.read(512 if way == "piece" else 1)
        file.seek(place)
        file.write(
            bytes(len(old)) if way == "piece" else bytes([old[0] ^ 1 << random.randrange(8)])
        )
    return f"{way} at {place} of {size}"


def message(wal_start: int, payload: bytes) -> bytes:
    return b"w" + struct.pack(">QQq", wal_start, 0, 0) + payload


def store_changes(directory: Path, random: Random, killed: Path | None = None) -> None:
    """Store transactions over several segments, small ones and large ones in slices.

    A copy at ``killed`` is what a kill leaves: the last changes stand in SQLite's log alone.
    """
    directory.mkdir()
    writer = ChangelogWriter(directory, max_segment_bytes=20_000)
    for number in range(1, 60):
        end = number * 100
        slices = random.choice([0, 0, 0, _MOST_SLICES])
        for piece in range(slices):
            frames = [message(end, random.randbytes(700)) for _ in range(3)]
            writer.append(pack_messages(frames), slice_number=piece, final=False, end_lsn=0)
        described = b"R" + struct.pack(">I", number % 7) + random.randbytes(30)
        writer.append(
            pack_messages([message(end, described), message(end, random.randbytes(300))]),
            slice_number=slices or None,
            final=True,
            end_lsn=end,
            transactions=1,
            relation_frames=[(described[:5], (end, described))],
        )
    writer.make_durable()
    if killed is not None:
        copy_without_index(directory, killed)
    writer.close()


def copy_without_index(directory: Path, to: Path) -> None:
    """Copy SQLite's files without the index of their logs, which a process that is gone has not."""
    shutil.copytree(directory, to, ignore=shutil.ignore_patterns("*-shm"))


def everything(directory: Path, position: int) -> list[tuple[Any, ...]]:
    """Return all that a reader is given from a position on."""
    reader = ChangelogReader(directory)
    try:
        reader.seek(position)
        found: list[tuple[Any, ...]] = []
        while (chunk := reader.read()) is not None:
            frames = tuple(chunk.unpack())
            described = tuple(reader.relations_before(chunk)) if not found else ()
            place = (chunk.id, chunk.session, chunk.slice, chunk.final, chunk.end_lsn)
            found.append((*place, frames, described))
        return found
    finally:
        reader.close()


@pytest.mark.parametrize("damaged", ["*", "*-wal"], ids=["any file", "a log"])
def test_of_damaged_segments_nothing_false_is_read(tmp_path: Path, damaged: str) -> None:
    random = Random(SEED)
    whole, killed, directory = tmp_path / "whole", tmp_path / "killed", tmp_path / "cdc"
    store_changes(whole, random, killed)
    kept = whole if damaged == "*" else killed
    positions = [0, 100, 2500, 4000]
    true = {position: everything(whole, position) for position in positions}
    end = stored_end(whole)
    assert len(true[0]) > 60
    assert len(true[4000]) < len(true[2500])
    outcomes = {"refused": 0, "the same": 0, "less": 0}
    for number in range(DAMAGES):
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(kept, directory)
        path = random.choice(sorted(directory.glob(damaged)))
        done = f"{number} (seed {SEED}): {path.name}, {damage(path, random)}"
        position = random.choice(positions)
        try:
            found = everything(directory, position)
            known_end = stored_end(directory)
        except StateError:
            outcomes["refused"] += 1
            continue
        assert found == true[position][: len(found)], done
        # what is missing at the end is known to be missing, so that it is asked for again
        last = max((chunk[4] for chunk in found), default=0)
        assert known_end <= max(last, position), done
        outcomes["the same" if known_end == end else "less"] += 1
    # SQLite itself leaves out what follows a damaged place of its log.
    assert outcomes["refused" if damaged == "*" else "less"] > DAMAGES / 4, outcomes


def change_letter(path: Path, written: bytes, instead: bytes) -> None:
    content = path.read_bytes()
    assert written in content
    path.write_bytes(content.replace(written, instead))


def test_a_changed_letter_of_a_schema_is_noticed(tmp_path: Path) -> None:
    """SQLite would hold rows against such a constraint, or fill in such a default."""
    catalogue, directory = tmp_path / "catalogue.db", tmp_path / "cdc"
    write_catalogue(catalogue)
    change_letter(catalogue, b"'running'", b"'runnine'")
    with pytest.raises(StateError, match="its schema is damaged"):
        known(catalogue)
    store_changes(directory, Random(SEED))
    for path in directory.glob("*.db"):
        change_letter(path, b"default 0", b"default 8")
    with pytest.raises(StateError, match="its schema is damaged"):
        everything(directory, 0)


def test_stored_changes_that_are_null_are_refused(tmp_path: Path) -> None:
    store_changes(tmp_path / "cdc", Random(SEED))
    first = min((tmp_path / "cdc").glob("*.db"))
    with connect_sqlite(first) as segment:
        segment.execute("pragma writable_schema = on")
        segment.execute(
            "update sqlite_master set sql = replace(sql, 'frames blob not null', 'frames blob')"
        )
    segment.close()
    with connect_sqlite(first) as segment:
        segment.execute("update chunk set frames = null where id = 1")
        segment.execute("pragma writable_schema = on")
        segment.execute(
            "update sqlite_master set sql = replace(sql, 'frames blob', 'frames blob not null')"
        )
    segment.close()
    with pytest.raises(StateError, match="a checksum is wrong"):
        everything(tmp_path / "cdc", 0)


def write_catalogue(path: Path) -> None:
    with open_store(path) as store:
        write_header(
            store, RunHeader(run_id="a" * 32, source="1/2", slot_name="s", consistent_point=7)
        )
        for number in range(30):
            write_fact(store, f"fact {number}", ["text", number] * 40)
        create_sentinel(store, 1000, 0)
        update_sentinel(store, received_lsn=77_000, flush_lsn=76_000, apply=1)


def known(path: Path) -> list[Any]:
    with open_store(path) as store:
        refuse_damaged(path, store)
        facts = [read_fact(store, f"fact {number}", list[Any]) for number in range(30)]
        return [read_header(store), read_sentinel(store), *facts]


def assert_nothing_false_is_read(
    kept: Path, path: Path, read: Callable[[Path], object], true: object
) -> None:
    """Damage a copy at ``path`` of the catalogue ``kept`` again and again, and read it."""
    random = Random(SEED)
    refused = 0
    for number in range(DAMAGES):
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        shutil.copy(kept, path)
        done = f"{number} (seed {SEED}): {damage(path, random)}"
        try:
            found = read(path)
        except StateError:
            refused += 1
            continue
        assert found == true, done
    assert refused > DAMAGES / 10


def test_of_a_damaged_catalogue_nothing_false_is_read(tmp_path: Path) -> None:
    kept, path = tmp_path / "kept.db", tmp_path / "catalogue.db"
    write_catalogue(kept)
    assert_nothing_false_is_read(kept, path, known, known(kept))


def test_of_a_damaged_log_an_earlier_state_is_read(tmp_path: Path) -> None:
    """What a kill leaves: the last commits stand in SQLite's log alone."""
    random = Random(SEED)
    made, kept, directory = tmp_path / "made", tmp_path / "kept", tmp_path / "work"
    made.mkdir()
    with open_store(made / "catalogue.db") as store:
        states = [known(made / "catalogue.db")]
        write_header(store, RunHeader(run_id="a" * 32, source="1/2", slot_name="s"))
        states.append(known(made / "catalogue.db"))
        create_sentinel(store, 1000, 0)
        for number in range(20):
            states.append(known(made / "catalogue.db"))
            write_fact(store, f"fact {number}", ["text", number] * 40)
            states.append(known(made / "catalogue.db"))
            update_sentinel(store, received_lsn=1000 + number, flush_lsn=1000 + number)
        states.append(known(made / "catalogue.db"))
        copy_without_index(made, kept)
    earlier = 0
    for number in range(DAMAGES):
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(kept, directory)
        done = f"{number} (seed {SEED}): {damage(directory / 'catalogue.db-wal', random)}"
        try:
            found = known(directory / "catalogue.db")
        except StateError:
            continue
        assert found in states, done
        earlier += found != states[-1]
    assert earlier > DAMAGES / 4


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.execute("update sentinel set received_lsn = received_lsn + 1"),
        lambda store: store.execute("update sentinel set endpos = 1"),
        lambda store: store.execute(
            "update header set content = cast(replace(content, '7', '8') as blob)"
        ),
    ],
    ids=["received", "endpos", "header"],
)
def test_what_is_confirmed_rests_on_rows_with_checksums(
    tmp_path: Path, change: Callable[[sqlite3.Connection], object]
) -> None:
    path = tmp_path / "catalogue.db"
    write_catalogue(path)
    with open_store(path) as store:
        change(store)
    with pytest.raises(StateError, match="damaged: its checksum is wrong"):
        known(path)


def _planned(pool: str, oid: int, part: int = 0, waits_for: Sequence[str] = ()) -> NewJob:
    return NewJob(
        pool=pool,
        kind=pool,
        unit=f"{pool} {oid}",
        oid=oid,
        schema="public",
        name=f"table {oid}",
        part=part,
        weight=oid,
        parameters=b'{"lower": %d, "upper": %d}' % (part * 1000, part * 1000 + 1000),
        waits_for=waits_for,
    )


def write_plan(path: Path) -> None:
    """Plan copies in parts, of which some are done, and what is built on the tables."""
    with open_store(path) as store:
        queue = JobQueue(store)
        for oid in range(2000, 2020):
            queue.add(_planned("copy", oid, part) for part in range(3))
            queue.add([_planned("build", oid, waits_for=[f"copy {oid}"])])
        for _ in range(25):
            claimed = queue.claim("copy")
            assert claimed is not None
            queue.finish(claimed, rows=10, bytes=1000)


def to_do(path: Path) -> list[Any]:
    """Return what a run that is resumed does: what is done, and what it claims then."""
    with open_store(path) as store:
        refuse_damaged(path, store)
        queue = JobQueue(store)
        queue.reset()
        found = [(job.id, job.state) for job in queue.jobs()]
        claimed = []
        for pool in ("copy", "build"):
            while (job := queue.claim(pool)) is not None:
                claimed.append((job.oid, job.name, job.part, job.parameters))
                queue.finish(job)
        return [found, claimed]


def test_of_a_damaged_plan_nothing_else_is_done(tmp_path: Path) -> None:
    kept, path = tmp_path / "kept.db", tmp_path / "catalogue.db"
    write_plan(kept)
    shutil.copy(kept, path)
    true = to_do(path)
    assert len(true[1]) == 60 - 25 + 20
    assert_nothing_false_is_read(kept, path, to_do, true)


def test_every_bit_of_an_archive_counts(tmp_path: Path) -> None:
    path = tmp_path / "schema.dump"
    content = Random(SEED).randbytes(3000)
    path.write_bytes(content)
    true = checksum_of(path)
    for bit in range(0, len(content) * 8, 101):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert checksum_of(path) != true
