"""The file that says which version of an extension the target is to have."""

from collections.abc import Mapping

import msgspec

from pgcopydb.errors import ConfigurationError


class _Requirement(msgspec.Struct, forbid_unknown_fields=False):
    name: str
    version: str


def parse_requirements(text: str | bytes, *, origin: str) -> Mapping[str, str]:
    """Return versions by the names of extensions, from a JSON array of objects with both.

    That is what ``pgcopydb list extensions --requirements --json`` prints. Raises
    ConfigurationError naming ``origin`` and what is wrong.
    """
    try:
        requirements = msgspec.json.decode(text, type=list[_Requirement])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the requirements {origin} are not a JSON array of names and versions: {error}",
            hint='expected is [{"name": "...", "version": "..."}, ...], as'
            " 'pgcopydb list extensions --requirements --json' prints it",
        ) from None
    versions: dict[str, str] = {}
    for one in requirements:
        if not one.name or not one.version:
            raise ConfigurationError(
                f"the requirements {origin} have an empty name or version",
                hint="leave out what is to get its default version",
            )
        if versions.setdefault(one.name, one.version) != one.version:
            raise ConfigurationError(
                f'the requirements {origin} name extension "{one.name}" twice',
                hint="leave one version of it",
            )
    return versions
