"""Server encodings: what Python calls them, for plugins that send the server's own bytes.

test_decoding and wal2json send text in the server's encoding whatever the client asks for
(correctness M14); pgoutput converts to the client's, which is UTF-8 here.
"""

import codecs

from pgcopydb.errors import ConfigurationError
from pgcopydb.model.encodings import ONLY_THE_SERVER_CONVERTS

# Only names that Python spells otherwise (PostgreSQL manual, "Supported Character Sets").
_PYTHON_NAMES: dict[str, str] = {
    "UTF8": "utf-8",
    "UNICODE": "utf-8",
    "SQL_ASCII": "utf-8",  # bytes without a declared encoding pass as they are
    "EUC_CN": "gb2312",
    "ISO_8859_5": "iso8859-5",
    "ISO_8859_6": "iso8859-6",
    "ISO_8859_7": "iso8859-7",
    "ISO_8859_8": "iso8859-8",
    "KOI8R": "koi8-r",
    "KOI8U": "koi8-u",
    "WIN866": "cp866",
    "WIN874": "cp874",
} | {f"WIN{page}": f"cp{page}" for page in range(1250, 1259)}


def python_encoding(server_encoding: str) -> str | None:
    """Return Python's codec for a server encoding, or None when its bytes are UTF-8 as they are.

    Takes PostgreSQL's name (``LATIN1``) or Python's (``utf-8``). Raise ConfigurationError for one
    that Python cannot read, or would not read as PostgreSQL does.
    """
    try:
        if server_encoding.upper() in ONLY_THE_SERVER_CONVERTS:
            raise LookupError
        name = codecs.lookup(_PYTHON_NAMES.get(server_encoding.upper(), server_encoding)).name
    except LookupError:
        raise ConfigurationError(
            f"source: text in the server encoding {server_encoding} cannot be converted",
            hint="use --plugin pgoutput, which converts on the server",
        ) from None
    return None if name == "utf-8" else name
