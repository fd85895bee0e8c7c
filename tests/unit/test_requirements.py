"""The file of versions of extensions: what it says, and what is wrong with it, in one line."""

import pytest

from pgcopydb.errors import ConfigurationError
from pgcopydb.rules.requirements import parse_requirements


def test_names_and_versions() -> None:
    text = '[{"name": "hstore", "version": "1.7", "more": 1}, {"name": "a b", "version": "2"}]'
    assert parse_requirements(text, origin="f") == {"hstore": "1.7", "a b": "2"}
    assert parse_requirements("[]", origin="f") == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "[1]",
        '[{"name": "x"}]',
        '[{"name": "x", "version": 1}]',
        '[{"name": "", "version": "1"}]',
        '[{"name": "x", "version": "1"}, {"name": "x", "version": "2"}]',
        b"\xff\xfe",
    ],
)
def test_malformed_requirements(text: str | bytes) -> None:
    with pytest.raises(ConfigurationError, match="the requirements f") as refused:
        parse_requirements(text, origin="f")
    assert "\n" not in refused.value.message
    assert refused.value.hint
