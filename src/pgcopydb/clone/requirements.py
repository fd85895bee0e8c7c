"""The versions of extensions that the user asks for."""

from collections.abc import Mapping

from pgcopydb.errors import ConfigurationError
from pgcopydb.model.options import CopyOptions
from pgcopydb.rules.requirements import parse_requirements


def required_versions(copy: CopyOptions) -> Mapping[str, str]:
    """Return the versions of the file given as --requirements; raises ConfigurationError."""
    path = copy.requirements
    if path is None:
        return {}
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the requirements {path} cannot be read: {error.strerror}",
            hint="name an existing file with --requirements",
        ) from None
    return parse_requirements(text, origin=str(path))
