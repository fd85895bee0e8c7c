"""Server encodings that only PostgreSQL itself converts as PostgreSQL does."""

from typing import Final

ONLY_THE_SERVER_CONVERTS: Final = frozenset({"EUC_JP", "EUC_JIS_2004", "EUC_TW", "MULE_INTERNAL"})
"""The last two Python does not know. Its codecs of the first two read some characters otherwise,
such as a wave dash for PostgreSQL's full-width tilde: all codes of one to three bytes of every
server encoding were compared with what PostgreSQL 15 makes of them, and no other differs.
"""
