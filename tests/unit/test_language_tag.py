"""Names of ICU locales, as servers before 16 keep them, become language tags."""

import pytest

from pgcopydb.rules.language_tag import language_tag


@pytest.mark.parametrize(
    ("locale", "tag"),
    [
        ("@colNumeric=yes;colCaseFirst=lower", "und-u-kf-lower-kn"),
        ("de_DE@collation=phonebook", "de-DE-u-co-phonebk"),
        ("fr@colBackwards=no;colStrength=Primary", "fr-u-kb-false-ks-level1"),
        ("", "und"),
        ("root", "und"),
        ("en_US", "en-US"),
        ("und-u-ks-level2", "und-u-ks-level2"),
        ("en@currency=eur", "en@currency=eur"),
    ],
)
def test_a_locale_becomes_a_language_tag(locale: str, tag: str) -> None:
    assert language_tag(locale) == tag
