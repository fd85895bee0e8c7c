"""A migration whose commands reach both servers over networks that can be made to fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from tests.scenarios.migration import Migration
from tests.support.proxy import GARBLED, Proxy


@dataclass
class ProxiedMigration(Migration):
    """A migration whose commands reach both servers through proxies only."""

    proxies: dict[str, Proxy] = field(default_factory=dict)

    def arguments(self, *words: str) -> list[str]:
        """Return a command's words with the options that lead through the proxies."""
        pair = self.pair
        source = self.proxies["source"].through(pair.source.conninfo)
        target = self.proxies["target"].through(pair.target.conninfo)
        directory = ["--dir", str(self.directory)]
        return [*words, *directory, "--source", source, "--target", target]


@contextmanager
def proxied(migration: Migration) -> Iterator[ProxiedMigration]:
    """Give a migration whose connections all go through a proxy for each server."""
    pair = migration.pair
    with Proxy(pair.source.cluster.port) as source, Proxy(pair.target.cluster.port) as target:
        yield ProxiedMigration(
            pair,
            migration.directory,
            migration.command,
            migration.background,
            plugin=migration.plugin,
            streaming=migration.streaming,
            proxies={"source": source, "target": target},
        )


@dataclass(frozen=True)
class Severity:
    """How bad a network gets: small messages suffer from what bulk hardly feels."""

    latency: float
    """Seconds for each piece that passes."""
    slice_bytes: tuple[int, int]
    """The least and the largest length of pieces."""
    messages: int
    """Of answers that a command is complete, pass at most this many before the cut."""
    rows: int
    """The same of messages with rows, or with pieces of the stream."""


FOLLOWING = Severity(latency=0.05, slice_bytes=(1, 7), messages=30, rows=30)
COPYING = Severity(latency=0.01, slice_bytes=(100, 1400), messages=40, rows=2000)


_GARBLED_KINDS = (b"d", b"C", b"D", b"T", b"Z", b"2", b"G", b"H")
"""Pieces of COPY, the messages that begin one, and what answers a statement consists of."""


@dataclass(frozen=True)
class NetworkFault:
    """What a network suffers from until it is healed."""

    kind: str
    proxy: Proxy
    lost: int
    """How many connections the proxy had cut, and messages it had broken, before."""

    def heal(self) -> bool:
        """Let everything pass again; tell whether anything came of it at all."""
        self.proxy.heal()
        return not self.kind.startswith("lost") or _lost(self.proxy) > self.lost


def _lost(proxy: Proxy) -> int:
    return proxy.cuts + proxy.garbled


def fail(migration: ProxiedMigration, random: Random, severity: Severity) -> NetworkFault:
    """Let one of the two networks fail, in a way and as badly as random numbers say."""
    side = random.choice(["source", "target"])
    proxy = migration.proxies[side]
    lost = _lost(proxy)
    messages, rows = random.randint(1, severity.messages), random.randint(1, severity.rows)
    length = random.randint(*severity.slice_bytes)
    kind, how = random.choice(_GARBLED_KINDS), random.choice(list(GARBLED))
    ways: dict[str, Callable[[], object]] = {
        "reset": proxy.reset,
        "half close": proxy.half_close,
        "refused": lambda: proxy.refuse(2),
        "silence": lambda: proxy.silence(3),
        "lost answer": lambda: proxy.cut_before(b"C", messages),
        "lost rows": lambda: proxy.cut_before(b"d", rows),
        "lost beginning of COPY": lambda: proxy.cut_before(b"G", min(messages, 4)),
        "lost sense": lambda: proxy.garble(kind, messages, how),
        "slow": lambda: setattr(proxy, "latency", severity.latency),
        "slices": lambda: setattr(proxy, "slice_bytes", length),
    }
    way = random.choice(list(ways))
    ways[way]()
    return NetworkFault(f"{way} ({side})", proxy, lost)
