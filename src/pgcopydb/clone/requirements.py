"""The versions of extensions that the user asks for."""

from collections.abc import Mapping
from pathlib import Path

from pgcopydb.errors import ConfigurationError
from pgcopydb.model.options import CopyOptions
from pgcopydb.rules.requirements import parse_requirements


def required_versions(copy: CopyOptions) -> Mapping[str, str]:
    """Return the versions of the file given as --requirements; raises ConfigurationError."""
    return read_requirements(copy.requirements) if copy.requirements else {}


def read_requirements(path: Path) -> Mapping[str, str]:
    """Return the versions that a file names; raises ConfigurationError when it cannot be read."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the requirements {path} cannot be read: {error.strerror}",
            hint="name an existing file with --requirements",
        ) from None
    return parse_requirements(text, origin=str(path))
