"""A network that misbehaves: a TCP proxy before a server, which knows where messages begin.

::

    with Proxy(database.cluster.port) as proxy:
        conninfo = proxy.through(database.conninfo)
        proxy.latency = 0.2                 # seconds for each piece, in both directions
        proxy.slice_bytes = 1               # no piece is longer
        proxy.bytes_a_second = 64 << 10     # of each connection, in each direction
        proxy.cut_before(b"C", 40)          # the 40th CommandComplete is lost with its connection
        proxy.garble(b"d", 40, "length of zero")    # what stands before it is no header any more
        proxy.reset()                       # a RST to both ends of every connection
        proxy.half_close()                  # a FIN to the client, whose own side stays open
        proxy.silence(5)                    # nothing passes for so long, and nothing breaks
        proxy.refuse(2)                     # new connections are reset for so long
        proxy.strips_tls = True             # whoever asks for TLS is told that there is none
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from psycopg.conninfo import make_conninfo

from pgcopydb.demo.places import LOOPBACK

_REQUESTS: Final = {80877103, 80877104}
"""SSLRequest and GSSENCRequest, which are answered by one byte."""

_IN_CLEAR: Final = 196608
"""The code of a StartupMessage, which tells user and database."""

_PIECE: Final = 64 * 1024

GARBLED: Final[dict[str, Callable[[bytes], bytes]]] = {
    "unknown type": lambda header: b"\x07" + header[1:],
    "length of zero": lambda header: header[:1] + bytes(4),
    "negative length": lambda header: header[:1] + b"\xff\xff\xff\xff",
    "shorter length": lambda header: _longer(header, -1),
    "longer length": lambda header: _longer(header, 1),
    "endless length": lambda header: header[:1] + b"\x7f\xff\xff\xfe",
    "noise": lambda _: b"\xfe\x7f\x80\x41\x0a",
}
"""What a server that breaks the protocol says in place of the type and the length of a message."""


def _longer(header: bytes, by: int) -> bytes:
    (length,) = struct.unpack("!I", header[1:])
    return header[:1] + struct.pack("!I", max(length + by, 0))


@dataclass(eq=False)
class _Link:
    """One connection: both of its sockets, and what is known of its protocol."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    started: bool = False
    garbled: bool = False
    single_bytes: int = 0
    """Answers of one byte, without type and length, that the server still owes."""
    head: dict[str, bytes] = field(default_factory=dict)
    """By side, the beginning of a message of which not even type and length are there."""
    skip: dict[str, int] = field(default_factory=dict)
    """By side, how many bytes of the message under way are still to come."""

    def reset(self) -> None:
        for writer in (self.client, self.server):
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Proxy:
    """A context manager; all of its methods may be called from the test's own thread."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._port = 0
        self._cut: tuple[bytes, int] | None = None
        self._garble: tuple[bytes, int, str] | None = None
        self._silent_until = 0.0
        self._refusing_until = 0.0
        self.latency = 0.0
        self.slice_bytes: int | None = None
        self.bytes_a_second: int | None = None
        self.strips_tls = False
        self.connections = 0
        self.started_in_clear = 0
        self.cuts = 0
        self.garbled = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return self._port

    def through(self, conninfo: str) -> str:
        """Return the connection string that leads through this proxy."""
        return make_conninfo(conninfo, host=LOOPBACK, port=self._port)

    # -- faults ------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Reset every connection at both ends."""
        self._call(_Link.reset)

    def half_close(self) -> None:
        """Tell every client that the server will say no more, and go on listening to it."""
        self._call(lambda link: link.client.write_eof())

    def silence(self, seconds: float) -> None:
        """Let nothing pass for a while, as a network that has lost a route."""
        self._silent_until = self._loop.time() + seconds

    def refuse(self, seconds: float) -> None:
        """Reset the connections that are there, and new ones for a while."""
        self._refusing_until = self._loop.time() + seconds
        self.reset()

    def cut_before(self, kind: bytes, number: int) -> None:
        """Reset the connection on which the server sends the n-th message of a kind from now on."""
        self._cut = (kind, number)

    def garble(self, kind: bytes, number: int, how: str) -> None:
        """Break the header of the n-th message of a kind from now on, as ``GARBLED`` does it."""
        self._garble = (kind, number, how)

    def heal(self) -> None:
        """Let everything pass as it comes; connections on which the server said nonsense go."""
        self._cut, self._garble, self.latency, self.slice_bytes = None, None, 0.0, None
        self.bytes_a_second = None
        self._silent_until = self._refusing_until = 0.0
        self._call(lambda link: link.reset() if link.garbled else None)

    # -- the loop's own thread ---------------------------------------------------------------------

    def _call(self, act: Callable[[_Link], None]) -> None:
        """Do something with every connection that is there."""
        done = threading.Event()

        def call() -> None:
            for link in list(self._links):
                with suppress(OSError):  # it was closed meanwhile
                    act(link)
            done.set()

        self._loop.call_soon_threadsafe(call)
        assert done.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, LOOPBACK, 0))
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for link in list(self._links):
            link.reset()
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._loop.time() < self._refusing_until:
            _reset(client)
            return
        try:
            upstream, server = await asyncio.open_connection(LOOPBACK, self._upstream)
        except OSError:
            _reset(client)
            return
        link = _Link(client, server)
        self._links.add(link)
        try:
            if self.strips_tls:
                server.write(await self._in_clear(link, reader))
            await asyncio.gather(
                self._pump(link, reader, server, "client"),
                self._pump(link, upstream, client, "server"),
            )
        except (OSError, EOFError, asyncio.CancelledError):
            link.reset()
        finally:
            self._links.discard(link)
            for writer in (client, server):
                writer.close()

    async def _in_clear(self, link: _Link, reader: asyncio.StreamReader) -> bytes:
        """Refuse every request to encrypt; return the beginning of what the client says then."""
        while True:
            opening = await reader.readexactly(8)
            if struct.unpack("!II", opening)[1] not in _REQUESTS:
                self._watched(link, opening, "client")
                return opening
            link.client.write(b"N")

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, side: str
    ) -> None:
        while data := await reader.read(_PIECE):
            passed = self._watched(link, data, side)
            await self._pass(passed, writer)
            if len(passed) < len(data):
                self.cuts += 1
                link.reset()
                return
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        size = self.slice_bytes or self._tenth_of_a_second() or len(data) or 1
        for start in range(0, len(data), size):
            while self._loop.time() < self._silent_until:
                await asyncio.sleep(0.05)
            if self.latency:
                await asyncio.sleep(self.latency)
            if self.bytes_a_second:
                await asyncio.sleep(len(data[start : start + size]) / self.bytes_a_second)
            writer.write(data[start : start + size])
            await writer.drain()

    def _tenth_of_a_second(self) -> int | None:
        return self.bytes_a_second // 10 if self.bytes_a_second else None

    # -- messages ----------------------------------------------------------------------------------

    def _watched(self, link: _Link, data: bytes, side: str) -> bytes:
        """Return as much of ``data`` as passes; less than all of it means that the link is cut."""
        head = link.head.pop(side, b"")
        text = head + data
        position = link.skip.pop(side, 0)
        while position < len(text):
            if side == "server" and link.single_bytes:
                link.single_bytes -= 1
                position += 1
                continue
            # Only what opens a connection has no type; its code stands behind the length.
            opening = side == "client" and not link.started
            header = 8 if opening else 5
            if len(text) - position < header:
                link.head[side] = text[position:]
                return data
            if opening:
                length, code = struct.unpack_from("!II", text, position)
                self._begin(link, code)
                position += length
                continue
            if side == "server" and self._is_cut(text[position : position + 1]):
                return data[: max(position - len(head), 0)]
            if side == "server" and position >= len(head):
                data = self._garbled(link, data, position - len(head))
            position += 1 + struct.unpack_from("!I", text, position + 1)[0]
        link.skip[side] = position - len(text)
        return data

    def _garbled(self, link: _Link, data: bytes, start: int) -> bytes:
        """Return ``data`` with another header at ``start``, if that is the one to be broken."""
        if self._garble is None or self._garble[0] != data[start : start + 1]:
            return data
        kind, number, how = self._garble
        if number > 1:
            self._garble = (kind, number - 1, how)
            return data
        self._garble, link.garbled = None, True
        self.garbled += 1
        end = start + 5
        return data[:start] + GARBLED[how](data[start:end]) + data[end:]

    def _begin(self, link: _Link, code: int) -> None:
        if code in _REQUESTS:
            link.single_bytes += 1
            return
        link.started = True
        self.started_in_clear += code == _IN_CLEAR

    def _is_cut(self, kind: bytes) -> bool:
        if self._cut is None or self._cut[0] != kind:
            return False
        wanted, number = self._cut
        self._cut = (wanted, number - 1) if number > 1 else None
        return number <= 1
