"""The small parts beside the decoders: commit times, encodings, options, boundaries."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcopydb.decoding import begins, commit_end, plugin_options
from pgcopydb.decoding.encodings import python_encoding
from pgcopydb.decoding.timestamps import TimestampReader, format_microseconds
from pgcopydb.errors import ConfigurationError
from pgcopydb.model.options import Plugin


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_times_are_read_as_they_are_written(microseconds: int) -> None:
    assert TimestampReader().microseconds(format_microseconds(microseconds)) == microseconds


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-23 17:52:40.52+00", datetime(2026, 11, 23, 17, 52, 40, 520000, UTC)),
        ("2026-11-23 23:22:40+05:30", datetime(2026, 11, 23, 17, 52, 40, 0, UTC)),
        ("1900-01-01 00:00:00-00:44:30", datetime(1900, 1, 1, 0, 44, 30, 0, UTC)),
    ],
)
def test_times_with_offsets(text: str, utc: datetime) -> None:
    reader = TimestampReader()
    for _ in range(2):
        assert reader.microseconds(text) == round(utc.timestamp() * 1_000_000)


@pytest.mark.parametrize("text", ["", "Mon Nov 23 17:52:40 2026 UTC", "2026-13-01 00:00:00+00"])
def test_times_in_another_style_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        TimestampReader().microseconds(text)


@pytest.mark.parametrize(
    ("server", "python"),
    [
        ("UTF8", None),
        ("utf-8", None),
        ("SQL_ASCII", None),
        ("LATIN1", "iso8859-1"),
        ("LATIN9", "iso8859-15"),
        ("WIN1252", "cp1252"),
        ("EUC_KR", "euc_kr"),
        ("KOI8R", "koi8-r"),
        ("ISO_8859_5", "iso8859-5"),
        ("EUC_CN", "gb2312"),
    ],
)
def test_encodings_by_postgresql_name(server: str, python: str | None) -> None:
    assert python_encoding(server) == python


@pytest.mark.parametrize("server", ["EUC_JP", "EUC_JIS_2004", "EUC_TW", "MULE_INTERNAL"])
def test_an_encoding_that_python_lacks_or_reads_otherwise_names_the_way_out(server: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        python_encoding(server)
    assert "pgoutput" in str(caught.value.hint)


def test_publication_names_are_quoted_as_identifiers() -> None:
    options = dict(
        plugin_options(Plugin.PGOUTPUT, server_version_num=150020, publications=["a", 'b"c'])
    )
    assert options == {
        "proto_version": "1",
        "publication_names": '"a","b""c"',
        "messages": "true",
    }


def test_servers_before_14_are_not_asked_for_messages() -> None:
    options = plugin_options(Plugin.PGOUTPUT, server_version_num=130014, publications=["p"])
    assert "messages" not in dict(options)


def test_wal2json_is_asked_for_numbers_in_quotes_only_when_it_knows_them() -> None:
    name = "numeric-data-types-as-string"
    assert name not in dict(plugin_options(Plugin.WAL2JSON, server_version_num=150020))
    told = plugin_options(Plugin.WAL2JSON, server_version_num=150020, numeric_as_string=True)
    assert dict(told)[name] == "true"


@pytest.mark.parametrize("plugin", list(Plugin))
def test_other_frames_are_no_boundaries(plugin: Plugin) -> None:
    for payload in (b"I\0\0\0\1", b"table public.\"COMMIT 1\": INSERT: a[text]:'BEGIN 1'", b"{}"):
        assert commit_end(plugin)(payload, 7) == 0
        assert begins(plugin)(payload) is False
