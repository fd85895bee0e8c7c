"""Server encodings that are no ordinary ones."""

from typing import Final

RAW: Final = "SQL_ASCII"
"""The encoding of a database that takes any bytes and knows nothing of what they mean."""

ONLY_THE_SERVER_CONVERTS: Final = frozenset({"EUC_JP", "EUC_JIS_2004", "EUC_TW", "MULE_INTERNAL"})
"""Only PostgreSQL itself converts these as PostgreSQL does. The last two Python does not know; its
codecs of the first two read some characters otherwise, such as a wave dash for PostgreSQL's
full-width tilde. The codes of one and two bytes (three for the Japanese ones) of EUC_KR, the LATINs
and what ``decoding/encodings.py`` names were compared with what PostgreSQL 15 makes of them: no
other differs.
"""
