"""``pgcopydb check``."""

import click

from pgcopydb.cli.command import command
from pgcopydb.cli.groups import COPY, EXISTING_WORK, FOLLOW_IF_ASKED, SOURCE, TARGET
from pgcopydb.cli.options import flag
from pgcopydb.model.endpoint import Endpoint
from pgcopydb.model.options import CopyOptions, FollowOptions, WorkOptions

# Without the short form that it has elsewhere: here -J is --table-jobs.
_JSON = flag("--json", "as_json", help="Print JSON.")


@command("check", SOURCE, TARGET, EXISTING_WORK, COPY, FOLLOW_IF_ASKED, _JSON)
def check(
    *,
    source: Endpoint,
    target: Endpoint,
    work: WorkOptions,
    copy: CopyOptions,
    follow: FollowOptions | None,
    as_json: bool,
) -> None:
    """See whether a migration can be done.

    Looks at both servers, creates nothing, and prints everything that would make 'pgcopydb clone'
    with the same options fail, or surprise: each finding with its severity, its side, and the
    statements or settings that mend it. The status is 0 when nothing is fatal. Otherwise it is 2,
    or the one that all fatal findings agree on: 3 for a slot, publication or origin in the way, a
    snapshot that is gone, or a work directory with a previous run, 6 for a source that cannot be
    asked, 7 for a target that cannot be asked, is not empty or takes no writes.
    """
    from pgcopydb.cli.render_check import report_text
    from pgcopydb.model.filters import EVERYTHING
    from pgcopydb.model.readiness import Intent
    from pgcopydb.preflight.look import look
    from pgcopydb.preflight.refuse import error_of
    from pgcopydb.workdir.directory import default_directory
    from pgcopydb.workdir.filters import read_filters

    filters = read_filters(copy.filters) if copy.filters else EVERYTHING
    intent = Intent(copy=copy, follow=follow, filters=filters)
    directory = work.directory or default_directory()
    begins = "clone --follow" if follow else "clone"
    report = look(source, target, intent, directory, begins=begins)
    click.echo(report_text(report, as_json=as_json))
    if report.fatal:
        count = len(report.fatal)
        raise error_of(
            report,
            f"{count} finding{'' if count == 1 else 's'} would end this migration",
            "mend what is marked as fatal, then check again",
        )
