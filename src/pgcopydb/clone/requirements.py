"""The versions of extensions that the user asks for."""

from collections.abc import Mapping
from pathlib import Path

from pgcopydb.model.options import CopyOptions
from pgcopydb.rules.requirements import parse_requirements
from pgcopydb.workdir.given_files import read_given


def required_versions(copy: CopyOptions) -> Mapping[str, str]:
    """Return the versions of the file given as --requirements; raises ConfigurationError."""
    return read_requirements(copy.requirements) if copy.requirements else {}


def read_requirements(path: Path) -> Mapping[str, str]:
    """Return the versions that a file names; raises ConfigurationError when it cannot be read."""
    text = read_given(path, what="requirements", option="--requirements")
    return parse_requirements(text, origin=str(path))
