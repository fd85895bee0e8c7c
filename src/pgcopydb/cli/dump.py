"""``pgcopydb dump``: what the source has, into the work directory."""

from pgcopydb.cli.command import CommandGroup, command
from pgcopydb.cli.options import DUMP, OPTIONAL_TARGET, SOURCE, WORK
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

    run_phase("dump schema", work, lambda here: dump_schema(here, source, copy, target))


dump = CommandGroup("dump", help="Dump schema or roles to the work directory.", commands=[schema])
