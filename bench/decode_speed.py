"""How many changes a second each decoder reads, on one core, best of three.

    python bench/decode_speed.py [ROUNDS]

The work is like pgbench's: transactions of three UPDATEs (3 or 4 columns) and one INSERT.
"""

import struct
import sys
import time

from pgcopydb.decoding import make_decoder
from pgcopydb.model.changes import Identities, Identity
from pgcopydb.model.options import Plugin

TRANSACTIONS = 5_000
COLUMNS = {
    "pgbench_accounts": (("aid", 23), ("bid", 23), ("abalance", 23), ("filler", 1042)),
    "pgbench_tellers": (("tid", 23), ("bid", 23), ("tbalance", 23)),
    "pgbench_branches": (("bid", 23), ("bbalance", 23)),
    "pgbench_history": (("tid", 23), ("bid", 23), ("aid", 23), ("delta", 23), ("mtime", 1114)),
}
TYPES = {23: "integer", 1042: "character", 1114: "timestamp without time zone"}
IDENTITIES: Identities = {
    ("public", name): Identity((columns[0][0],))
    for name, columns in COLUMNS.items()
    if name != "pgbench_history"
}
STAMP = "2026-11-23 17:52:40.519701"


def rows(number: int) -> list[tuple[str, str, list[str]]]:
    """Return (action, table, values) of one transaction."""
    key = str(number)
    return [
        ("UPDATE", "pgbench_accounts", [key, "1", "-1234", " " * 84]),
        ("UPDATE", "pgbench_tellers", ["7", "1", "51234"]),
        ("UPDATE", "pgbench_branches", ["1", "51234"]),
        ("INSERT", "pgbench_history", ["7", "1", key, "-1234", STAMP]),
    ]


def pgoutput_frames() -> list[bytes]:
    """Return the work as pgoutput sends it."""
    oids = {name: 16384 + position for position, name in enumerate(COLUMNS)}
    frames = []
    for name, columns in COLUMNS.items():
        body = b"".join(
            bytes([position == 0]) + column.encode() + b"\0" + struct.pack(">Ii", oid, -1)
            for position, (column, oid) in enumerate(columns)
        )
        start = struct.pack(">cI", b"R", oids[name]) + b"public\0" + name.encode() + b"\0d"
        frames.append(start + struct.pack(">H", len(columns)) + body)
    for number in range(TRANSACTIONS):
        frames.append(struct.pack(">cQqI", b"B", 5000 + number, 0, 700 + number))
        for action, table, values in rows(number):
            body = b"".join(struct.pack(">cI", b"t", len(v)) + v.encode() for v in values)
            start = struct.pack(">cIcH", action[0].encode(), oids[table], b"N", len(values))
            frames.append(start + body)
        frames.append(struct.pack(">cBQQq", b"C", 0, 5000 + number, 5001 + number, 0))
    return frames


def test_decoding_frames() -> list[bytes]:
    """Return the work as test_decoding sends it."""
    frames = []
    for number in range(TRANSACTIONS):
        frames.append(f"BEGIN {700 + number}")
        for action, table, values in rows(number):
            body = " ".join(
                f"{name}[{TYPES[oid]}]:{value if oid == 23 else repr(value)}"
                for (name, oid), value in zip(COLUMNS[table], values, strict=True)
            )
            frames.append(f"table public.{table}: {action}: {body}")
        frames.append(f"COMMIT {700 + number} (at {STAMP}+00)")
    return [frame.encode() for frame in frames]


def wal2json_frames() -> list[bytes]:
    """Return the work as wal2json sends it."""
    frames = []
    for number in range(TRANSACTIONS):
        common = f'"xid":{700 + number},"timestamp":"{STAMP}+00","lsn":"0/{5000 + number:X}"'
        ends = f'{common},"nextlsn":"0/{5001 + number:X}"'
        frames.append(f'{{"action":"B",{ends}}}')
        for action, table, values in rows(number):
            columns = [
                f'{{"name":"{name}","type":"{TYPES[oid]}","value":'
                + (value if oid == 23 else f'"{value}"')
                + "}"
                for (name, oid), value in zip(COLUMNS[table], values, strict=True)
            ]
            line = f'{{"action":"{action[0]}",{common},"schema":"public","table":"{table}"'
            line += f',"columns":[{",".join(columns)}]'
            frames.append(line + (f',"identity":[{columns[0]}]}}' if action == "UPDATE" else "}"))
        frames.append(f'{{"action":"C",{ends}}}')
    return [frame.encode() for frame in frames]


def best_time(plugin: Plugin, frames: list[bytes], rounds: int) -> float:
    """Return the seconds of the fastest of ``rounds`` runs over ``frames``."""
    times = []
    for _ in range(rounds):
        decode = make_decoder(plugin, IDENTITIES).decode
        start = time.perf_counter()
        for frame in frames:
            decode(frame, 1)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure each plugin and print a line for it."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    work = {
        Plugin.PGOUTPUT: pgoutput_frames(),
        Plugin.WAL2JSON: wal2json_frames(),
        Plugin.TEST_DECODING: test_decoding_frames(),
    }
    for plugin, frames in work.items():
        seconds = best_time(plugin, frames, rounds)
        changes = 4 * TRANSACTIONS
        print(
            f"{plugin:14} {changes / seconds:>10,.0f} row changes/s"
            f" {seconds / len(frames) * 1e6:6.2f} us a frame"
        )


if __name__ == "__main__":
    main()
