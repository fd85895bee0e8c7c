"""The groups of options that commands are declared with; each builds what a use-case takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from pgcopydb.cli.command import OptionGroup
from pgcopydb.cli.options import (
    APPLY_MODE,
    COMPARE_JOBS,
    CREATE_SLOT,
    DEFAULT_JOBS,
    DIRECTORY,
    DROP_IF_EXISTS,
    ENDPOS,
    ESTIMATE_TABLE_SIZES,
    FAIL_FAST,
    FILTERS,
    FOLLOW_FLAG,
    INDEX_JOBS,
    JOBS,
    LARGE_OBJECTS_JOBS,
    MAX_ROWS,
    MAX_SEGMENT,
    MAX_STORE,
    NO_ACL,
    NO_COMMENTS,
    NO_IDENTITY,
    NO_OWNER,
    NO_ROLE_PASSWORDS,
    NO_STATISTICS,
    NO_TABLESPACES,
    NOT_CONSISTENT,
    ON_CONFLICT,
    ORIGIN,
    PLUGIN,
    PUBLICATION,
    REPLAY_NO_OP_UPDATES,
    REQUIREMENTS,
    RESTART,
    RESTORE_JOBS,
    RESUME,
    ROLES,
    SKIP_ANALYZE,
    SKIP_COLLATIONS,
    SKIP_DB_PROPERTIES,
    SKIP_EXT_COMMENTS,
    SKIP_EXTENSIONS,
    SKIP_LARGE_OBJECTS,
    SKIP_SPLIT_BY_CTID,
    SKIP_VACUUM,
    SLOT_NAME,
    SNAPSHOT,
    SOURCE_URI,
    SPLIT_MAX_PARTS,
    SPLIT_TABLES,
    STREAMING,
    TABLE_JOBS,
    TARGET_URI,
    USE_COPY_BINARY,
    WAL2JSON_NUMERIC_AS_STRING,
    Option,
    value,
)
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.options import CompareOptions, CopyOptions, FollowOptions, Plugin, WorkOptions


def endpoint_group(side: Side, option: Option, *, required: bool) -> OptionGroup:
    """Return the group of one server's option: an Endpoint, or None where it may be missing."""

    def build(**values: str | None) -> Endpoint | None:
        conninfo = values[side.value]
        if conninfo:
            return Endpoint(side, conninfo)
        if required:
            raise missing(side, option)
        return None

    return OptionGroup(side.value, (option,), build)


def missing(side: Side, option: Option) -> click.UsageError:
    """Return the error of a command that needs a server and was given none."""
    return click.UsageError(f"no {side} server: give {option.opts[0]} or set {option.envvar}")


def _work_options(
    *, directory: Path | None, restart: bool, resume: bool, not_consistent: bool
) -> WorkOptions:
    if restart and resume:
        raise click.UsageError("--restart contradicts --resume")
    if restart and not_consistent:
        raise click.UsageError("--restart contradicts --not-consistent")
    return WorkOptions(
        directory=directory, restart=restart, resume=resume, not_consistent=not_consistent
    )


def _target_alone(*, source: str | None, target: str | None) -> Endpoint:
    del source
    if not target:
        raise missing(Side.TARGET, TARGET_URI)
    return Endpoint(Side.TARGET, target)


def _dumped_work_options(*, restart: bool, **values: Any) -> WorkOptions:
    if restart:
        raise click.UsageError(
            "--restart would remove the dump that is to be restored: give it to 'dump schema'"
        )
    return WorkOptions(**values)


def _copy_options(*, jobs: int | None = None, **values: Any) -> CopyOptions:
    for name in ("table_jobs", "index_jobs"):
        if name in values:
            values[name] = _jobs(name, values[name], jobs)
    if values.get("requirements") and values.get("skip_extensions"):
        raise click.UsageError(
            "--requirements contradicts --skip-extensions: it is about extensions to be created"
        )
    return CopyOptions(**values)


def _jobs(name: str, own: int | None, jobs: int | None) -> int:
    """Return a number of jobs: --table-jobs before --jobs before the environment's variable."""
    source = click.get_current_context().get_parameter_source(name)
    if jobs is not None and source is not ParameterSource.COMMANDLINE:
        return jobs
    return own or DEFAULT_JOBS


def _follow_options(*, wal2json_numeric_as_string: bool, **values: Any) -> FollowOptions:
    del wal2json_numeric_as_string  # every decoder keeps numbers as text: there is nothing to ask
    context = click.get_current_context()
    given = {
        name for name in values if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    plugin = values["plugin"]
    if _on_command_line(PUBLICATION) and "plugin" in given and plugin is not Plugin.PGOUTPUT:
        raise click.UsageError(
            f"--publication contradicts the plugin {plugin}: only pgoutput reads one"
        )
    # PostgreSQL writes "no position" as 0/0.
    values["endpos"] = values["endpos"] or None
    return FollowOptions(**values, given=frozenset(given))


def _follow_if_asked(*, follow: bool, **values: Any) -> FollowOptions | None:
    if follow:
        return _follow_options(**values)
    for option in _FOLLOW_OPTIONS:
        if option not in _CHANGE_NOTHING and _on_command_line(option):
            raise click.UsageError(f"{option.opts[0]} needs --follow")
    return None


def _on_command_line(option: Option) -> bool:
    """Tell whether an option was given, not only its environment variable, which is for all."""
    source = click.get_current_context().get_parameter_source(option.name or "")
    return source is ParameterSource.COMMANDLINE


def _group(name: str, build: Callable[..., object], *options: Option) -> OptionGroup:
    return OptionGroup(name, options, build)


def accepted(**needless: Option) -> OptionGroup:
    """Return the group of options that scripts give and that change nothing for a command.

    The keywords say of what the command has no need; their values are what they are named like.
    """
    options = tuple(
        value(
            *option.opts,
            metavar=option.metavar,
            help=f"Accepted for existing scripts: this command needs no {name}.",
        )
        for name, option in needless.items()
    )
    return OptionGroup(None, options, lambda **_: None)


SOURCE: Final = endpoint_group(Side.SOURCE, SOURCE_URI, required=True)
TARGET: Final = endpoint_group(Side.TARGET, TARGET_URI, required=True)
TARGET_ALONE: Final = _group("target", _target_alone, SOURCE_URI, TARGET_URI)
"""The target, for a command that does not look at the source, which scripts name all the same."""

OPTIONAL_SOURCE: Final = endpoint_group(Side.SOURCE, SOURCE_URI, required=False)
OPTIONAL_TARGET: Final = endpoint_group(Side.TARGET, TARGET_URI, required=False)

NEEDS_NO_SOURCE: Final = accepted(source=SOURCE_URI)
NEEDS_NO_TARGET: Final = accepted(target=TARGET_URI)
NEEDS_NO_SERVER: Final = accepted(source=SOURCE_URI, target=TARGET_URI)
NEEDS_NO_SNAPSHOT: Final = accepted(snapshot=SNAPSHOT)

WORK: Final = _group("work", _work_options, DIRECTORY, RESTART, RESUME, NOT_CONSISTENT)

EXISTING_WORK: Final = _group("work", WorkOptions, DIRECTORY)
"""The work directory of a run that goes on, which is read or steered and not taken over."""

DUMPED_WORK: Final = _group(
    "work", _dumped_work_options, DIRECTORY, RESTART, RESUME, NOT_CONSISTENT
)
"""The work directory of a dump that is to be restored, and so not to be removed."""

COPY: Final = _group(
    "copy",
    _copy_options,
    JOBS,
    TABLE_JOBS,
    INDEX_JOBS,
    RESTORE_JOBS,
    LARGE_OBJECTS_JOBS,
    SPLIT_TABLES,
    SPLIT_MAX_PARTS,
    ESTIMATE_TABLE_SIZES,
    SKIP_SPLIT_BY_CTID,
    DROP_IF_EXISTS,
    ROLES,
    NO_ROLE_PASSWORDS,
    NO_OWNER,
    NO_ACL,
    NO_COMMENTS,
    NO_TABLESPACES,
    SKIP_LARGE_OBJECTS,
    SKIP_EXTENSIONS,
    SKIP_EXT_COMMENTS,
    REQUIREMENTS,
    SKIP_COLLATIONS,
    SKIP_VACUUM,
    SKIP_ANALYZE,
    NO_STATISTICS,
    SKIP_DB_PROPERTIES,
    FAIL_FAST,
    USE_COPY_BINARY,
    SNAPSHOT,
    FILTERS,
)

_SCHEMA: Final = (
    RESTORE_JOBS,
    DROP_IF_EXISTS,
    NO_OWNER,
    NO_ACL,
    NO_COMMENTS,
    NO_TABLESPACES,
    SKIP_EXTENSIONS,
    SKIP_EXT_COMMENTS,
    REQUIREMENTS,
    SKIP_COLLATIONS,
    FILTERS,
)
_ROWS: Final = (
    TABLE_JOBS,
    SPLIT_TABLES,
    SPLIT_MAX_PARTS,
    ESTIMATE_TABLE_SIZES,
    SKIP_SPLIT_BY_CTID,
    USE_COPY_BINARY,
    SKIP_VACUUM,
    SKIP_ANALYZE,
    FAIL_FAST,
    SNAPSHOT,
    FILTERS,
)

DUMP: Final = _group("copy", _copy_options, SNAPSHOT, FILTERS)
RESTORE: Final = _group("copy", _copy_options, *_SCHEMA)
COPY_SCHEMA: Final = _group("copy", _copy_options, *_SCHEMA, SNAPSHOT)
COPY_TABLE_DATA: Final = _group("copy", _copy_options, *_ROWS)
COPY_DATA: Final = _group(
    "copy",
    _copy_options,
    JOBS,
    INDEX_JOBS,
    LARGE_OBJECTS_JOBS,
    NO_OWNER,
    NO_ACL,
    NO_COMMENTS,
    NO_TABLESPACES,
    SKIP_LARGE_OBJECTS,
    *_ROWS,
)
COPY_LARGE_OBJECTS: Final = _group(
    "copy",
    _copy_options,
    LARGE_OBJECTS_JOBS,
    DROP_IF_EXISTS,
    NO_OWNER,
    NO_ACL,
    NO_COMMENTS,
    SNAPSHOT,
)
COPY_INDEXES: Final = _group(
    "copy", _copy_options, INDEX_JOBS, NO_TABLESPACES, FAIL_FAST, SNAPSHOT, FILTERS
)
COPY_EXTENSIONS: Final = _group("copy", _copy_options, REQUIREMENTS, SNAPSHOT, FILTERS)
COPY_ROLES: Final = _group("copy", _copy_options, NO_ROLE_PASSWORDS, NO_COMMENTS)
DUMP_ROLES: Final = _group("copy", _copy_options, NO_ROLE_PASSWORDS)
RESTORE_ROLES: Final = _group("copy", _copy_options, NO_COMMENTS)
COPY_SEQUENCES: Final = _group("copy", _copy_options, FILTERS)
"""The options of single phases: each has those of a whole copy that make a difference to it."""

SELECTION: Final = _group("copy", CopyOptions, FILTERS)
"""What is to be migrated, for commands that prepare a copy without making it."""

COMPARE_SCHEMA: Final = _group(
    "options",
    CompareOptions,
    NO_OWNER,
    NO_ACL,
    NO_COMMENTS,
    NO_TABLESPACES,
    SKIP_LARGE_OBJECTS,
    SKIP_EXTENSIONS,
    SKIP_EXT_COMMENTS,
    SKIP_COLLATIONS,
    SKIP_DB_PROPERTIES,
    FILTERS,
)

COMPARE_DATA: Final = _group(
    "options", CompareOptions, COMPARE_JOBS, MAX_ROWS, SKIP_LARGE_OBJECTS, FILTERS
)

_FOLLOW_OPTIONS: Final = (
    PLUGIN,
    STREAMING,
    SLOT_NAME,
    CREATE_SLOT,
    ORIGIN,
    PUBLICATION,
    ENDPOS,
    NO_IDENTITY,
    APPLY_MODE,
    ON_CONFLICT,
    REPLAY_NO_OP_UPDATES,
    MAX_SEGMENT,
    MAX_STORE,
    WAL2JSON_NUMERIC_AS_STRING,
)
_CHANGE_NOTHING: Final = (REPLAY_NO_OP_UPDATES, WAL2JSON_NUMERIC_AS_STRING)
"""Accepted for existing scripts, with --follow and without."""

FOLLOW: Final = _group("follow", _follow_options, *_FOLLOW_OPTIONS)

FOLLOW_IF_ASKED: Final = _group("follow", _follow_if_asked, FOLLOW_FLAG, *_FOLLOW_OPTIONS)
"""As FOLLOW, for a command that follows only with --follow: None without it."""
