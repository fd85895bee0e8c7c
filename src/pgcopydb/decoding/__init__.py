"""Pure decoders: the bytes that an output plugin sends become changes. No I/O.

Each plugin has one file; all give the same values for the same work (``model.changes``).
"""

from collections.abc import Callable
from typing import Final, Protocol

from pgcopydb.decoding.boundaries import MESSAGE_HEADER, begins, commit_end, is_relation_frame
from pgcopydb.decoding.pgoutput import PgoutputDecoder
from pgcopydb.decoding.plugin_options import plugin_options
from pgcopydb.decoding.test_decoding import TestDecodingDecoder
from pgcopydb.decoding.wal2json import Wal2jsonDecoder
from pgcopydb.model.changes import Change, Identities
from pgcopydb.model.options import Plugin

__all__ = [
    "DECODERS",
    "MESSAGE_HEADER",
    "Decoder",
    "PgoutputDecoder",
    "begins",
    "commit_end",
    "is_relation_frame",
    "make_decoder",
    "plugin_options",
]


class Decoder(Protocol):
    """Turns the payloads of one stream into changes, in order."""

    def decode(self, payload: bytes, wal_start: int) -> Change | None:
        """Return the change in the payload of one XLogData message that starts at ``wal_start``.

        None: nothing for apply. Raise ProtocolError, and nothing else, for what is malformed.
        """
        ...


DECODERS: Final[dict[Plugin, Callable[[Identities | None, str], Decoder]]] = {
    Plugin.PGOUTPUT: lambda _identities, _encoding: PgoutputDecoder(),
    Plugin.TEST_DECODING: TestDecodingDecoder,
    Plugin.WAL2JSON: Wal2jsonDecoder,
}
"""How to make the decoder of each plugin, from identities and the server's encoding."""


def make_decoder(
    plugin: Plugin, identities: Identities | None = None, encoding: str = "utf-8"
) -> Decoder:
    """Return a new decoder for one stream of ``plugin``.

    ``identities`` are the source's replica identities, which pgoutput says itself; for a FULL one
    ``Identity.columns`` should name all the table's columns. ``encoding`` is the source's server
    encoding, by PostgreSQL's name or Python's, which pgoutput has converted already.
    Raise ConfigurationError for an encoding that cannot be converted here.
    """
    return DECODERS[plugin](identities, encoding)
