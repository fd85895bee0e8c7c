"""Connection strings: what is refused, what is added, and that no secret is repeated."""

import pickle

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from pgcopydb.errors import SourceError, SqlError, TargetError, UsageError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.postgres.connect import _unreachable, redacted, translate
from pgcopydb.postgres.parameters import complete, parse
from pgcopydb.postgres.resolve import ResolvedServer


def source(conninfo: str) -> Endpoint:
    return Endpoint(Side.SOURCE, conninfo)


@pytest.mark.parametrize(
    "conninfo",
    [
        "postgresql://user:s3/cret@host/db",
        "postgresql://user:s3@cret@host/db",
        "postgresql://user:s3%zzcret@host/db",
        "postgresql://user:s3cret@[::1/db",
        "postgresql://user:pw@host/db?s3cret=1",
        "password=my s3cret host=x",
        "password=s3cret host=x replication=database",
        "host=x s3cret=x",
        "host=x port=s3cret",
        "host=x password='s3cret",
    ],
)
def test_a_malformed_string_is_refused_without_repeating_it(conninfo: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(source(conninfo))
    said = f"{caught.value.message} {caught.value.hint}"
    assert "s3" not in said
    assert "cret" not in said
    assert caught.value.exit_code == 1
    assert "\n" not in said
    assert redacted(source(conninfo)) == "the source"


def test_a_misspelt_parameter_is_answered_with_the_right_one() -> None:
    with pytest.raises(UsageError) as caught:
        parse(source("host=x slmode=require"))
    assert caught.value.hint == 'did you mean the parameter "sslmode"?'


@pytest.mark.parametrize(
    ("conninfo", "shown"),
    [
        ("postgresql://ann:pw@db.example:5433/shop?sslpassword=x", "ann@db.example:5433/shop"),
        ("host=/run/pg dbname=shop", "/run/pg/shop"),
        ("service=shop password=pw", "service shop"),
        ("", "the source"),
    ],
)
def test_a_server_is_shown_without_secrets(conninfo: str, shown: str) -> None:
    assert redacted(source(conninfo)) == shown


def test_defaults_are_added_where_nothing_is_said() -> None:
    made = conninfo_to_dict(complete(source("host=x"), purpose="copy", environ={}))
    assert made["connect_timeout"] == "10"
    assert made["keepalives_idle"] == "30"
    assert made["application_name"] == "pgcopydb copy"


@pytest.mark.parametrize(
    ("conninfo", "environ"),
    [
        ("connect_timeout=3", {}),
        ("service=shop", {}),
        ("", {"PGSERVICE": "shop"}),
        ("", {"PGCONNECT_TIMEOUT": "3"}),
    ],
)
def test_what_the_user_says_elsewhere_wins(conninfo: str, environ: dict[str, str]) -> None:
    made = conninfo_to_dict(complete(source(conninfo), purpose="copy", environ=environ))
    assert made.get("connect_timeout") in {None, "3"}


def test_a_long_purpose_fits_the_servers_limit() -> None:
    made = conninfo_to_dict(complete(source(""), purpose="x" * 99, environ={}))
    assert len(str(made["application_name"])) == 63


def test_a_full_disk_is_told_with_what_to_do_where_the_server_does_not() -> None:
    made = translate(source(""), errors.DiskFull("no room"), doing="applying changes")
    assert "free disk space" in (made.hint or "")


def test_a_missing_right_comes_with_what_to_do() -> None:
    made = translate(source(""), errors.InsufficientPrivilege("no"), doing="reading tables")
    assert made.hint is not None
    assert made.hint.startswith("grant the role what it lacks")


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (errors.InsufficientPrivilege("permission denied for table t"), SourceError, False),
        (errors.SyntaxError("syntax error"), SqlError, False),
        (errors.DeadlockDetected("deadlock detected"), SourceError, True),
        (errors.AdminShutdown("terminating connection"), SourceError, True),
        (errors.QueryCanceled("canceling statement"), SourceError, False),
        (errors.OperationalError("server closed the connection unexpectedly"), SourceError, True),
        (ConnectionResetError(104, "Connection reset by peer"), SourceError, True),
    ],
)
def test_an_error_is_named_for_its_side(
    error: Exception, kind: type[Exception], retryable: bool
) -> None:
    made = translate(source("host=x password=s3cret"), error, doing="reading tables")
    assert type(made) is kind
    assert made.retryable is retryable
    assert made.message.startswith("source: reading tables failed: ")
    assert "\n" not in made.message


def test_what_is_too_long_to_be_printed_is_told_with_a_way_out() -> None:
    error = psycopg.errors.InternalError_("invalid memory alloc request size 1200000003")
    assert "1 GB" in (translate(source(""), error, doing="reading s.t").hint or "")


def test_the_targets_errors_are_the_targets() -> None:
    target = Endpoint(Side.TARGET, "")
    assert type(translate(target, OSError("gone"), doing="writing")) is TargetError


def test_a_resolved_server_travels_between_processes_and_hides_its_secrets() -> None:
    server = ResolvedServer(source("password=s3cret"), {"password": "s3cret"}, True)
    assert "s3cret" not in repr(server)
    assert pickle.loads(pickle.dumps(server)) == server


def test_a_server_that_shuts_down_while_a_connection_is_made_is_tried_again() -> None:
    error = psycopg.OperationalError(
        "connection failed: FATAL:  terminating connection due to administrator command"
    )
    assert _unreachable(source("host=x"), error).retryable


@pytest.mark.parametrize(
    ("context", "function"),
    [
        ('SQL function "odd ""one" during inlining', '"odd ""one"'),
        (
            'SQL statement "select f(1)"\nPL/pgSQL function s.g(integer, text) line 1 at RETURN',
            "s.g(integer, text)",
        ),
        ("PL/pgSQL function g() line 3 at assignment", "g()"),
    ],
)
def test_a_name_that_a_function_does_not_find_is_told_with_the_function(
    context: str, function: str
) -> None:
    class NotFound(Exception):
        sqlstate = "42883"
        hint = "No function matches the given name and argument types."

    error = NotFound("function f(integer) does not exist")
    error.context = context  # type: ignore[attr-defined]
    made = translate(source(""), error, doing="copying s.t")
    assert made.message.endswith(f"does not exist, which function {function} names")
    assert "search_path" in (made.hint or "")
    error.context = "COPY t, line 1"  # type: ignore[attr-defined]
    assert "which" not in translate(source(""), error, doing="copying s.t").message
