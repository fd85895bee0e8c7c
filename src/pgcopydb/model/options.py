"""What a person may choose, as the command line hands it to the use-cases."""

from enum import StrEnum
from pathlib import Path
from typing import Final

from msgspec import Struct

_STREAMING_SINCE: Final = 140000


class Plugin(StrEnum):
    """The output plugins whose bytes this program can decode."""

    PGOUTPUT = "pgoutput"
    TEST_DECODING = "test_decoding"
    WAL2JSON = "wal2json"


class Streaming(StrEnum):
    """Whether large transactions are received while they are in progress; pgoutput's words."""

    OFF = "off"
    ON = "on"


def streaming_problem(plugin: Plugin, server_version_num: int) -> str:
    """Say why transactions cannot be received in progress; "" where they can."""
    if plugin is not Plugin.PGOUTPUT:
        return f"--streaming on needs the plugin pgoutput: {plugin} sends transactions whole"
    if server_version_num < _STREAMING_SINCE:
        return "--streaming on needs PostgreSQL 14 or later"
    return ""


class NoIdentity(StrEnum):
    """What to do about tables whose updates and deletes the stream cannot carry (ruling 17)."""

    REFUSE = "refuse"
    INSERT_ONLY = "insert-only"
    FULL = "full"


class ApplyMode(StrEnum):
    """How source transactions become target transactions."""

    BATCH = "batch"
    TRANSACTION = "transaction"


class OnConflict(StrEnum):
    """What apply does with a row that is not what the source says it was (ruling 23)."""

    ERROR = "error"
    SKIP = "skip"
    OVERWRITE = "overwrite"


class WorkOptions(Struct, frozen=True, kw_only=True):
    """Where a run keeps its state, and what it may do with a previous run found there."""

    directory: Path | None = None
    restart: bool = False
    resume: bool = False
    not_consistent: bool = False


class CopyOptions(Struct, frozen=True, kw_only=True):
    """How the base copy is made."""

    table_jobs: int = 4
    index_jobs: int = 4
    restore_jobs: int | None = None
    large_objects_jobs: int = 4
    split_tables_larger_than: int | None = None
    """Bytes; None chooses by the table sizes and the number of lanes."""
    split_max_parts: int | None = None
    estimate_table_sizes: bool = False
    skip_split_by_ctid: bool = False
    drop_if_exists: bool = False
    roles: bool = False
    no_role_passwords: bool = False
    no_owner: bool = False
    no_acl: bool = False
    no_comments: bool = False
    no_tablespaces: bool = False
    skip_large_objects: bool = False
    skip_extensions: bool = False
    skip_ext_comments: bool = False
    skip_collations: bool = False
    skip_vacuum: bool = False
    skip_analyze: bool = False
    no_statistics: bool = False
    """Whether tables are analyzed though the source's statistics could be taken over."""
    skip_db_properties: bool = False
    fail_fast: bool = False
    use_copy_binary: bool = False
    snapshot: str | None = None
    """An exported snapshot of another session to copy from."""
    filters: Path | None = None
    requirements: Path | None = None
    """Versions of extensions, a file as ``list extensions --requirements --json`` prints it."""


class CompareOptions(Struct, frozen=True, kw_only=True):
    """What is compared, and how. What a clone was told to leave out is no difference."""

    jobs: int = 4
    max_rows: int = 100
    """Rows of a table that are named at most; 0 names tables only."""
    no_owner: bool = False
    no_acl: bool = False
    no_comments: bool = False
    no_tablespaces: bool = False
    skip_large_objects: bool = False
    skip_extensions: bool = False
    skip_ext_comments: bool = False
    skip_collations: bool = False
    skip_db_properties: bool = False
    filters: Path | None = None


class FollowOptions(Struct, frozen=True, kw_only=True):
    """How changes are captured and applied."""

    plugin: Plugin = Plugin.PGOUTPUT
    streaming: Streaming = Streaming.OFF
    slot_name: str = "pgcopydb"
    publication: str = "pgcopydb"
    origin: str = "pgcopydb"
    create_slot: bool = False
    endpos: int | None = None
    no_identity: NoIdentity = NoIdentity.REFUSE
    apply_mode: ApplyMode = ApplyMode.BATCH
    on_conflict: OnConflict = OnConflict.ERROR
    replay_no_op_updates: bool = False
    max_segment_bytes: int = 1 << 30
    """A file of stored changes is closed at this size and a new one begun."""
    max_store_bytes: int | None = None
    """Receiving pauses while more than this is stored and not yet applied."""
    given: frozenset[str] = frozenset()
    """Names of the fields that the user set. The others are defaults, which yield to what an
    earlier command of the same migration recorded in the work directory.
    """
