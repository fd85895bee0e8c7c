"""The installed command, end to end, on real servers."""

import pytest

# Their assertions tell what was compared, as those of the tests themselves do.
for _module in ("tests.scenarios.migration", "tests.support.oracles", "tests.support.litter"):
    pytest.register_assert_rewrite(_module)
