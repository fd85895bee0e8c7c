"""Every option of the command line, declared once: its flags, variable, type and help.

An option's name is that of the field it fills, in ``model/options.py``. What commands are declared
with are the groups of ``cli/groups.py``.
"""

from typing import Any, Final

import click
from click.core import ParameterSource

from pgcopydb.cli.files import FILTERS_FILE, REQUIREMENTS_FILE
from pgcopydb.cli.types import (
    AT_ONCE,
    COUNT,
    COUNT_OR_ZERO,
    LSN,
    NAME,
    ORIGIN_NAME,
    PATH,
    SIZE,
    SLOT,
    SNAPSHOT_ID,
    ParamType,
    one_of,
)
from pgcopydb.errors import ConfigurationError
from pgcopydb.model.options import (
    ApplyMode,
    NoIdentity,
    OnConflict,
    Plugin,
    Streaming,
)

DEFAULT_JOBS: Final = 4


class Option(click.Option):
    """An option whose variable, when it holds nonsense, is a matter of the environment."""

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Return the value of its text; blame the environment variable where it came from one."""
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            source = ctx.get_parameter_source(self.name or "")
            if source is not ParameterSource.ENVIRONMENT:
                raise
            raise ConfigurationError(
                f"the environment variable {self.envvar} is wrong: {error.message}",
                hint=f"correct it, unset it, or give {self.opts[0]}",
            ) from error


def flag(*names: str, help: str, env: str | None = None) -> Option:  # noqa: A002 - click's name
    """Declare an option that is on or off, and off unless given."""
    return Option(names, is_flag=True, default=False, envvar=env, show_envvar=True, help=help)


def value(
    *names: str,
    help: str,  # noqa: A002 - click's name
    kind: ParamType | None = None,
    metavar: str | None = None,
    default: object = None,
    env: str | None = None,
) -> Option:
    """Declare an option that takes a value; its help text ends with its default."""
    return Option(
        names,
        type=kind or click.STRING,
        metavar=metavar or (kind.name.upper() if kind else None),
        default=default,
        envvar=env,
        show_envvar=True,
        help=help if default is None else f"{help} Default: {default}.",
    )


# -- the two servers -------------------------------------------------------------------------------

SOURCE_URI: Final = value(
    "--source",
    "-S",
    metavar="URI",
    env="PGCOPYDB_SOURCE_PGURI",
    help="Source server: a libpq connection string, as URI or as keywords and values.",
)
TARGET_URI: Final = value(
    "--target",
    "-T",
    metavar="URI",
    env="PGCOPYDB_TARGET_PGURI",
    help="Target server: a libpq connection string, as URI or as keywords and values.",
)

# -- the work directory ----------------------------------------------------------------------------

DIRECTORY: Final = value(
    "--dir",
    "-D",
    "directory",
    kind=PATH,
    help="Work directory, which keeps the state of a migration. "
    "Without it: $TMPDIR/pgcopydb, else /tmp/pgcopydb.",
)
RESTART: Final = flag(
    "--restart",
    "-r",
    help="Remove what a previous run left in the work directory, then start.",
)
RESUME: Final = flag("--resume", "-R", help="Go on where a previous run stopped.")
NOT_CONSISTENT: Final = flag(
    "--not-consistent",
    "-C",
    help="With --resume: accept a new snapshot where the previous run's is gone.",
)

# -- the copy --------------------------------------------------------------------------------------

SNAPSHOT: Final = value(
    "--snapshot",
    "-N",
    kind=SNAPSHOT_ID,
    metavar="ID",
    env="PGCOPYDB_SNAPSHOT",
    help="Copy from a snapshot that another session exported.",
)
FILTERS: Final = value(
    "--filters",
    "--filter",
    "-F",
    "filters",
    kind=FILTERS_FILE,
    metavar="FILE",
    help="File that says what to leave out or take in.",
)
TABLE_JOBS: Final = value(
    "--table-jobs",
    "-J",
    kind=AT_ONCE,
    env="PGCOPYDB_TABLE_JOBS",
    help="Tables, or parts of them, that are copied at the same time. Default: 4.",
)
INDEX_JOBS: Final = value(
    "--index-jobs",
    "-I",
    kind=AT_ONCE,
    env="PGCOPYDB_INDEX_JOBS",
    help="Indexes that are built at the same time. Default: 4.",
)
JOBS: Final = value("--jobs", kind=AT_ONCE, help="Sets both --table-jobs and --index-jobs.")
RESTORE_JOBS: Final = value(
    "--restore-jobs",
    kind=AT_ONCE,
    env="PGCOPYDB_RESTORE_JOBS",
    help="Jobs of pg_restore. Default: as --index-jobs.",
)
LARGE_OBJECTS_JOBS: Final = value(
    "--large-objects-jobs",
    kind=AT_ONCE,
    default=DEFAULT_JOBS,
    env="PGCOPYDB_LARGE_OBJECTS_JOBS",
    help="Connections that copy large objects at the same time.",
)
SPLIT_TABLES: Final = value(
    "--split-tables-larger-than",
    "--split-at",
    "-L",
    "split_tables_larger_than",
    kind=SIZE,
    env="PGCOPYDB_SPLIT_TABLES_LARGER_THAN",
    help="Copy larger tables in parts, at the same time; of itself those beyond 1GB. Units are"
    " powers of 1024: 200MB, 1GB.",
)
SPLIT_MAX_PARTS: Final = value(
    "--split-max-parts",
    kind=COUNT,
    env="PGCOPYDB_SPLIT_MAX_PARTS",
    help="Parts that a table is split in at most.",
)
ESTIMATE_TABLE_SIZES: Final = flag(
    "--estimate-table-sizes",
    env="PGCOPYDB_ESTIMATE_TABLE_SIZES",
    help="Take the sizes of tables from what VACUUM and ANALYZE found last, instead of measuring"
    " each: for very many tables, or slow storage.",
)
SKIP_SPLIT_BY_CTID: Final = flag(
    "--skip-split-by-ctid",
    env="PGCOPYDB_SKIP_CTID_SPLIT",
    help="Do not split by physical position a table that has no suitable key.",
)
DROP_IF_EXISTS: Final = flag(
    "--drop-if-exists",
    "-c",
    env="PGCOPYDB_DROP_IF_EXISTS",
    help="Drop on the target what is about to be created there.",
)
ROLES: Final = flag("--roles", help="Create the source's roles on the target too.")
NO_ROLE_PASSWORDS: Final = flag("--no-role-passwords", help="Create roles without their passwords.")
NO_OWNER: Final = flag("--no-owner", help="Do not set the owners of objects.")
NO_ACL: Final = flag("--no-acl", help="Do not copy privileges.")
NO_COMMENTS: Final = flag("--no-comments", help="Do not copy comments.")
NO_TABLESPACES: Final = flag(
    "--no-tablespaces",
    env="PGCOPYDB_SKIP_TABLESPACES",
    help="Create everything in the target's default tablespace.",
)
SKIP_LARGE_OBJECTS: Final = flag(
    "--skip-large-objects",
    "--skip-blobs",
    "skip_large_objects",
    help="Do not copy large objects.",
)
SKIP_EXTENSIONS: Final = flag("--skip-extensions", help="Do not create extensions.")
SKIP_EXT_COMMENTS: Final = flag("--skip-ext-comments", help="Do not copy comments on extensions.")
SKIP_COLLATIONS: Final = flag("--skip-collations", help="Do not create collations.")
REQUIREMENTS: Final = value(
    "--requirements",
    kind=REQUIREMENTS_FILE,
    metavar="FILE",
    help="Versions of extensions to create, as JSON: "
    "what 'pgcopydb list extensions --requirements --json' prints. Others get the default one.",
)
SKIP_VACUUM: Final = flag(
    "--skip-vacuum", env="PGCOPYDB_SKIP_VACUUM", help="Do not vacuum the tables after their copy."
)
SKIP_ANALYZE: Final = flag(
    "--skip-analyze",
    env="PGCOPYDB_SKIP_ANALYZE",
    help="Do not analyze the tables after their copy.",
)
NO_STATISTICS: Final = flag(
    "--no-statistics",
    help="Analyze every table after its copy. Without it the planner's statistics of the source are"
    " taken over where they are up to date, by a target of server 18 or later.",
)
SKIP_DB_PROPERTIES: Final = flag(
    "--skip-db-properties",
    env="PGCOPYDB_SKIP_DB_PROPERTIES",
    help="Do not copy what ALTER DATABASE SET has set.",
)
FAIL_FAST: Final = flag(
    "--fail-fast",
    env="PGCOPYDB_FAIL_FAST",
    help="With --all-databases: stop at the first database that fails. Within one, the first error"
    " of any worker always stops everything, and --resume goes on with what is missing.",
)
USE_COPY_BINARY: Final = flag(
    "--use-copy-binary",
    env="PGCOPYDB_USE_COPY_BINARY",
    help="Copy all tables in COPY's binary format whose types allow it. Without it those that gain"
    " by it are.",
)

# -- change data capture ---------------------------------------------------------------------------

ALL_DATABASES: Final = flag(
    "--all-databases",
    help="Every database of the server but its templates, each in a directory of its own below"
    " --dir; the target is to be named by any one database.",
)

FOLLOW_FLAG: Final = flag(
    "--follow",
    help="Capture the changes made on the source after the snapshot, to be applied to the target.",
)
PLUGIN: Final = value(
    "--plugin",
    kind=one_of(Plugin),
    metavar="|".join(Plugin),
    default=Plugin.PGOUTPUT,
    env="PGCOPYDB_OUTPUT_PLUGIN",
    help="Output plugin of the replication slot.",
)
STREAMING: Final = value(
    "--streaming",
    kind=one_of(Streaming),
    metavar="|".join(Streaming),
    default=Streaming.OFF,
    env="PGCOPYDB_STREAMING",
    help="Receive large transactions while they are in progress, not only after their commit."
    " Needs the plugin pgoutput and a source of version 14 or later.",
)
WAL2JSON_NUMERIC_AS_STRING: Final = flag(
    "--wal2json-numeric-as-string",
    env="PGCOPYDB_WAL2JSON_NUMERIC_AS_STRING",
    help="Accepted for existing scripts: numbers keep every digit with any plugin.",
)
SLOT_NAME: Final = value(
    "--slot-name",
    kind=SLOT,
    metavar="NAME",
    default="pgcopydb",
    help="Replication slot on the source.",
)
PUBLICATION: Final = value(
    "--publication",
    kind=NAME,
    metavar="NAME",
    default="pgcopydb",
    help="Publication on the source, for the plugin pgoutput.",
)
ORIGIN: Final = value(
    "--origin",
    kind=ORIGIN_NAME,
    metavar="NAME",
    default="pgcopydb",
    help="Replication origin on the target, which records what is applied.",
)
CREATE_SLOT: Final = flag("--create-slot", help="Create the replication slot first.")
ENDPOS: Final = value(
    "--endpos",
    kind=LSN,
    help="Stop, with status 0, when everything that committed up to this position is done.",
)
NO_IDENTITY: Final = value(
    "--no-identity",
    kind=one_of(NoIdentity),
    metavar="|".join(NoIdentity),
    default=NoIdentity.REFUSE,
    help="What to do about tables whose updates and deletes cannot be captured: "
    "stop, capture their inserts only, or take the whole row as identity.",
)
APPLY_MODE: Final = value(
    "--apply-mode",
    kind=one_of(ApplyMode),
    metavar="|".join(ApplyMode),
    default=ApplyMode.BATCH,
    help="Apply many transactions of the source as one, or each as one of its own.",
)
ON_CONFLICT: Final = value(
    "--on-conflict",
    kind=one_of(OnConflict),
    metavar="|".join(OnConflict),
    default=OnConflict.ERROR,
    help="What to do with a row on the target that is not what the source says it was. "
    "Rows skipped or overwritten are listed, and the status is then not 0.",
)
REPLAY_NO_OP_UPDATES: Final = flag(
    "--replay-no-op-updates",
    env="PGCOPYDB_REPLAY_NO_OP_UPDATES",
    help="Accepted for existing scripts: updates that change no value are always applied.",
)
MAX_SEGMENT: Final = value(
    "--max-replaydb-size",
    "max_segment_bytes",
    kind=SIZE,
    default="1GB",
    help="Size at which a file of stored changes is closed and a new one begun.",
)
MAX_STORE: Final = value(
    "--max-store-size",
    "max_store_bytes",
    kind=SIZE,
    help="Disk space for stored changes: receiving pauses while they take more and are not all"
    " applied. It also pauses when less than a tenth of the disk, at most 1GB, is free.",
)

# -- results ---------------------------------------------------------------------------------------

JSON: Final = flag("--json", "-J", "as_json", help="Print JSON.")


# -- comparisons ----------------------------------------------------------------------------------

COMPARE_JOBS: Final = value(
    "--jobs",
    "--table-jobs",
    "jobs",
    kind=AT_ONCE,
    default=DEFAULT_JOBS,
    env="PGCOPYDB_TABLE_JOBS",
    help="Sessions that read at the same time, on each side.",
)
MAX_ROWS: Final = value(
    "--max-rows",
    kind=COUNT_OR_ZERO,
    default=100,
    help="Rows of each table that are named if they differ. 0 names tables only.",
)
