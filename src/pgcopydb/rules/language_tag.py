"""The name of a locale of ICU as a language tag.

Servers before 16 keep the name that a collation was made with. Later ones write it as a language
tag (BCP 47), so that the same collation has another name there.
"""

from typing import Final

_KEYS: Final = {
    "colalternate": "ka",
    "colbackwards": "kb",
    "colcasefirst": "kf",
    "colcaselevel": "kc",
    "colhiraganaquaternary": "kh",
    "collation": "co",
    "colnormalization": "kk",
    "colnumeric": "kn",
    "colreorder": "kr",
    "colstrength": "ks",
}

_VALUES: Final = {
    "ka": {"non-ignorable": "noignore"},
    "co": {
        "dictionary": "dict",
        "gb2312han": "gb2312",
        "phonebook": "phonebk",
        "traditional": "trad",
    },
    "ks": {
        "primary": "level1",
        "secondary": "level2",
        "tertiary": "level3",
        "quaternary": "level4",
        "identical": "identic",
    },
}

_ANY: Final = frozenset({"", "root"})


def language_tag(locale: str) -> str:
    """Return an ICU locale (``de@colNumeric=yes``) as a language tag (``de-u-kn``).

    What is one already comes back as it is, and so does what is not known here.
    """
    name, at, keywords = locale.partition("@")
    language = "und" if name.lower() in _ANY else name.replace("_", "-")
    if not at:
        return language
    found = {}
    for keyword in filter(None, keywords.split(";")):
        key, _, value = keyword.lower().partition("=")
        tag = _KEYS.get(key)
        if tag is None:
            return locale
        found[tag] = _value(tag, value)
    parts = [part for tag in sorted(found) for part in (tag, found[tag]) if part]
    return "-".join([language, "u", *parts])


def _value(tag: str, value: str) -> str:
    """Return a keyword's value as tags have it, where "yes" goes without saying."""
    if value in {"yes", "true"}:
        return ""
    if value == "no":
        return "false"
    return _VALUES.get(tag, {}).get(value, value.replace("_", "-"))
