"""The options that START_REPLICATION gives to each output plugin.

Set so that the three plugins say the same: transaction ids, commit times, every message, every
transaction that changed something, text values.
"""

from collections.abc import Iterable

from pgcopydb.decoding.identifiers import always_quoted
from pgcopydb.errors import ConfigurationError
from pgcopydb.model.options import Plugin, Streaming, streaming_problem

_TEST_DECODING: tuple[tuple[str, str], ...] = (
    ("include-xids", "true"),
    ("include-timestamp", "true"),
    # Else a message of a transaction that changed nothing comes without BEGIN and COMMIT, and one
    # before the first change comes before its BEGIN.
    ("skip-empty-xacts", "false"),
)

_WAL2JSON: tuple[tuple[str, str], ...] = (
    ("format-version", "2"),
    ("include-xids", "true"),
    ("include-timestamp", "true"),
    ("include-lsn", "true"),
    ("include-transaction", "true"),
    ("include-types", "true"),
    ("include-domain-data-type", "true"),  # pgoutput names a domain's base type too
)

_MESSAGES_SINCE = 140000


def plugin_options(
    plugin: Plugin,
    *,
    server_version_num: int,
    publications: Iterable[str] = (),
    numeric_as_string: bool = False,
    streaming: Streaming = Streaming.OFF,
) -> tuple[tuple[str, str], ...]:
    """Return (name, value) pairs for START_REPLICATION, for the caller to quote.

    ``publications`` counts for pgoutput only. ``numeric_as_string`` asks wal2json for numbers in
    quotes, without which it prints NaN and infinities as null; releases up to 2.5 refuse the
    option (``option "numeric-data-types-as-string" = "true" is unknown``). With ``streaming``
    large transactions come in progress, by protocol version 2; raises ConfigurationError where
    plugin or server do not know that.
    """
    streams = streaming is Streaming.ON
    if streams and (problem := streaming_problem(plugin, server_version_num)):
        raise ConfigurationError(f"source: {problem}", hint="leave out --streaming on")
    if plugin is Plugin.TEST_DECODING:
        return _TEST_DECODING
    if plugin is Plugin.WAL2JSON:
        extra = (("numeric-data-types-as-string", "true"),) if numeric_as_string else ()
        return _WAL2JSON + extra
    names = ",".join(always_quoted(name) for name in publications)
    version = (
        (("proto_version", "2"), ("streaming", "on")) if streams else (("proto_version", "1"),)
    )
    options = (*version, ("publication_names", names))
    if server_version_num >= _MESSAGES_SINCE:
        return (*options, ("messages", "true"))
    return options
