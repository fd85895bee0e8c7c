"""Server encodings that only PostgreSQL itself converts as PostgreSQL does."""

from typing import Final

ONLY_THE_SERVER_CONVERTS: Final = frozenset({"EUC_JP", "EUC_JIS_2004", "EUC_TW", "MULE_INTERNAL"})
"""The last two Python does not know. Its codecs of the first two read some characters otherwise,
such as a wave dash for PostgreSQL's full-width tilde. The codes of one and two bytes (three for the
Japanese ones) of EUC_KR, the LATINs and what ``decoding/encodings.py`` names were compared with
what PostgreSQL 15 makes of them: no other differs.
"""
