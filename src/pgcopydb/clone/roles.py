"""Roles: copied from server to server, or through a file of the work directory."""

import logging
from pathlib import Path
from time import time

import msgspec

from pgcopydb.clone.context import open_run
from pgcopydb.clone.prepare import server_facts
from pgcopydb.errors import ConfigurationError, StateError
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions
from pgcopydb.model.results import PhaseSummary, StepSummary
from pgcopydb.model.roles import Roles
from pgcopydb.pgtools.files import write_private
from pgcopydb.postgres.connect import connect, pin
from pgcopydb.postgres.roles import create_roles, read_roles, statements_for
from pgcopydb.workdir.directory import WorkDirectory

log = logging.getLogger(__name__)


def copy_roles(source: Endpoint, target: Endpoint, copy: CopyOptions) -> PhaseSummary:
    """Create the roles of the source that the target lacks, with memberships and settings.

    Raises ConfigurationError where passwords are wanted and may not be read, the target's error
    where a role may not be created.
    """
    started = time()
    return _created(target, _read(source, copy), copy, started)


def dump_roles(work: WorkDirectory, source: Endpoint, copy: CopyOptions) -> PhaseSummary:
    """Write the roles of the source into the work directory: to restore, and as SQL to read."""
    started = time()
    source = pin(source)
    facts = server_facts(source)
    open_run(work, source=facts)
    roles = _read(source, copy)
    write_private(_file(work), msgspec.json.encode(roles).decode())
    script = "".join(f"{one};\n" for one in statements_for(roles, version_num=facts.version_num))
    write_private(work.schema / "roles.sql", script)
    return _summary(f"{len(roles.roles):,} roles dumped", "dump roles", started)


def restore_roles(work: WorkDirectory, target: Endpoint, copy: CopyOptions) -> PhaseSummary:
    """Create the dumped roles that the target lacks. Raises StateError without a dump."""
    started = time()
    try:
        roles = msgspec.json.decode(_file(work).read_bytes(), type=Roles)
    except FileNotFoundError:
        raise StateError(
            f"{work.path} holds no dump of roles",
            hint="run pgcopydb dump roles first, with the same --dir",
        ) from None
    except msgspec.MsgspecError as error:
        raise ConfigurationError(
            f"{_file(work)} is not a dump of roles: {error}",
            hint="write it anew with pgcopydb dump roles",
        ) from None
    return _created(target, roles, copy, started)


def _read(source: Endpoint, copy: CopyOptions) -> Roles:
    with connect(source, purpose="roles") as connection:
        return read_roles(source, connection, passwords=not copy.no_role_passwords)


def _created(target: Endpoint, roles: Roles, copy: CopyOptions, started: float) -> PhaseSummary:
    with connect(target, purpose="roles") as connection:
        created = create_roles(target, connection, roles, comments=not copy.no_comments)
    kept = len(roles.roles) - len(created)
    if created:
        log.info("created the roles %s", ", ".join(created))
    done = f"{len(created):,} roles created, {kept:,} were there and are kept as they are"
    return _summary(done, "roles", started)


def _summary(done: str, step: str, started: float) -> PhaseSummary:
    return PhaseSummary(
        done=(done,), steps=(StepSummary(name=step, started=started, finished=time()),)
    )


def _file(work: WorkDirectory) -> Path:
    return work.schema / "roles.json"
