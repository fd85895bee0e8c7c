"""``pgcopydb dump``: what the source has, into the work directory."""

from pgcopydb.cli.command import CommandGroup, command
from pgcopydb.cli.groups import DUMP, DUMP_ROLES, OPTIONAL_TARGET, SOURCE, WORK
from pgcopydb.cli.phase import run_phase
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions, WorkOptions


@command("schema", SOURCE, OPTIONAL_TARGET, WORK, DUMP)
def schema(
    *, source: Endpoint, target: Endpoint | None, work: WorkOptions, copy: CopyOptions
) -> None:
    """Dump the source's schema into the work directory, as an archive of pg_dump.

    It is schema/schema.dump there, and 'pgcopydb restore' takes it from there. With --target the
    programs are chosen to fit that server too.
    """
    from pgcopydb.clone.schema_phases import dump_schema

    run_phase("dump schema", work, lambda here: dump_schema(here, source, copy, target), source)


@command("roles", SOURCE, WORK, DUMP_ROLES)
def roles(*, source: Endpoint, work: WorkOptions, copy: CopyOptions) -> None:
    """Dump the source server's roles into the work directory.

    schema/roles.json there is what 'restore roles' takes, and schema/roles.sql is the same to
    read. Both hold the hashes of passwords, which only superusers may read, unless
    --no-role-passwords is given.
    """
    from pgcopydb.clone.roles import dump_roles

    run_phase("dump roles", work, lambda here: dump_roles(here, source, copy), source)


dump = CommandGroup(
    "dump", help="Dump schema or roles to the work directory.", commands=[schema, roles]
)
