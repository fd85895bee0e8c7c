"""The page of what a base copy holds names tests and campaigns that are there."""

from tests.support.pages import named_and_there, rows_of

ROWS = rows_of("coverage.md", r"\| (?!what \|)[^-]")


def test_everything_that_is_named_is_there() -> None:
    assert len(ROWS) == 43
    for what, shown, versions, _ in ROWS:
        assert versions, what
        named = list(named_and_there(shown, what))
        assert named or "every kind" in shown or "each definition" in shown, what
