"""Logs: what the program says about its work, on stderr and in files, in every process alike.

The command line calls :func:`configure` once. A worker process receives ``current()`` from its
parent and calls ``configure`` with it, so all processes log the same way. One record is one
``write()`` to an appending descriptor, so lines of several processes do not mix.

No secret leaves this module: :func:`redact` runs over every record, over the values that travel
with it, and over tracebacks, before a handler formats them.

Levels, from the most to the least detailed: TRACE, DEBUG, NOTICE, INFO, WARNING, ERROR. As in the
command line's ``--notice``, NOTICE is detail between INFO and DEBUG, so it is below INFO.
"""

import contextlib
import json
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from pgcopydb.errors import ConfigurationError

TRACE: Final = 5
NOTICE: Final = 15

TIME_FORMAT_VARIABLE: Final = "PGCOPYDB_LOG_TIME_FORMAT"
FILE_VARIABLE: Final = "PGCOPYDB_LOG_FILENAME"
JSON_VARIABLE: Final = "PGCOPYDB_LOG_JSON"
JSON_FILE_VARIABLE: Final = "PGCOPYDB_LOG_JSON_FILE"

DEFAULT_TIME_FORMAT: Final = "%H:%M:%S"

HIDDEN: Final = "****"
"""What is written in place of a secret."""

logging.addLevelName(TRACE, "TRACE")
logging.addLevelName(NOTICE, "NOTICE")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """What is logged, and where to. Picklable, so that a worker can be given its parent's."""

    level: int = logging.INFO
    time_format: str = DEFAULT_TIME_FORMAT
    """A strftime format; milliseconds are added to it."""
    json: bool = False
    """Write stderr as JSON lines."""
    live: bool = False
    """Lines that are redrawn stand at the end of the terminal, below the cursor: each line of text
    takes their place."""
    file: Path | None = None
    json_file: Path | None = None

    @property
    def verbose(self) -> bool:
        """Whether more than usual is wanted: with --verbose, and with what says still more."""
        return self.level <= NOTICE

    @property
    def detailed(self) -> bool:
        """Whether tracebacks are wanted: with --debug and --trace."""
        return self.level <= logging.DEBUG


_TRUE = frozenset({"1", "on", "t", "true", "y", "yes"})
_FALSE = frozenset({"", "0", "off", "f", "false", "n", "no"})


def from_environment(environ: Mapping[str, str], level: int = logging.INFO) -> LogOptions:
    """Return the options that the environment asks for, at ``level``.

    Raises ConfigurationError for a value that is no boolean where one is expected.
    """
    return LogOptions(
        level=level,
        time_format=environ.get(TIME_FORMAT_VARIABLE) or DEFAULT_TIME_FORMAT,
        json=_boolean(JSON_VARIABLE, environ.get(JSON_VARIABLE, "")),
        file=_path(environ.get(FILE_VARIABLE)),
        json_file=_path(environ.get(JSON_FILE_VARIABLE)),
    )


def _boolean(name: str, text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ConfigurationError(f'{name} is "{text}", which is no boolean', hint="use on or off")


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


# -- secrets ---------------------------------------------------------------------------------------

_SECRETS: Final = (
    # postgres://user:secret@host. libpq ends the credentials at the first "@"; this goes on to the
    # last one in the word, so that a password with an unescaped "@" is not shown either.
    (re.compile(r"(?i)(postgres(?:ql)?://[^\s:@/]*):\S*@"), rf"\1:{HIDDEN}@"),
    # password=..., sslpassword='...', PGPASSWORD=...: libpq's keyword form, URI parameters and
    # environment. Quoted values may hold blanks; a quote that never closes hides the rest. An
    # unquoted one ends at a blank only: "&" and quotes may be part of it.
    (
        re.compile(
            r"(?i)(\b\w*(?:password|client_secret)\s*=\s*)"
            r"(?:'(?:[^'\\]|\\.)*(?:'|$)|(?:\\.|\S)+)"
        ),
        rf"\1{HIDDEN}",
    ),
    # "password": "...", as a dictionary or a JSON object prints it.
    (
        re.compile(
            r"(?i)(['\"]\w*(?:password|client_secret)['\"]\s*:\s*)"
            r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
        ),
        rf"\1'{HIDDEN}'",
    ),
    # ALTER ROLE ... PASSWORD '...', in a statement or in a server's message about it.
    (re.compile(r"(?i)(\bpassword\s+)E?'(?:[^']|'')*(?:'|$)"), rf"\1'{HIDDEN}'"),
)


def redact(text: str) -> str:
    """Return ``text`` with every password in it replaced by ``****``."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def redacted(record: logging.LogRecord) -> logging.LogRecord:
    """Return a copy of ``record`` without secrets in its message, its fields or its traceback."""
    safe = logging.makeLogRecord(record.__dict__)
    safe.msg, safe.args = redact(_message(record)), None
    if record.exc_info and record.exc_info[0] is not None:
        safe.exc_text = redact("".join(traceback.format_exception(*record.exc_info)))
        safe.exc_info = None
    for name, value in _fields(record).items():
        if isinstance(value, str):
            setattr(safe, name, redact(value))
    return safe


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # Arguments that do not fit their format are a defect, but no reason to stop a migration.
        return f"{record.msg} (at {record.filename}:{record.lineno}, with unfitting arguments)"


_STANDARD = frozenset(
    {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName", "report"}
)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return what the caller passed as ``extra``: lsn, table, job and the like."""
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


def printable(text: str, *, keep: str = "") -> str:
    """Return ``text`` with control characters escaped: a name must not steer a terminal.

    What is in ``keep`` stays as it is.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )


# -- formats ---------------------------------------------------------------------------------------

_COLOURS: Final = {
    logging.ERROR: "\x1b[31m",
    logging.WARNING: "\x1b[33m",
    logging.INFO: "\x1b[32m",
    NOTICE: "\x1b[36m",
    logging.DEBUG: "\x1b[34m",
    TRACE: "\x1b[90m",
}
_PLAIN: Final = "\x1b[0m"

_ERASE_BELOW: Final = "\r\x1b[J"


class TextFormatter(logging.Formatter):
    """``HH:MM:SS.mmm PID LEVEL message``; a message of several lines goes on indented."""

    def __init__(self, time_format: str, *, colour: bool = False) -> None:
        super().__init__()
        self._time_format = time_format
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Return ``record`` as text, without a final line end."""
        message = _said(record.getMessage())
        level = f"{record.levelname:<7}"
        if self._colour:
            level = f"{_COLOURS.get(record.levelno, '')}{level}{_PLAIN}"
        stamp = time.strftime(self._time_format, time.localtime(record.created))
        lines = f"{stamp}.{int(record.msecs):03d} {record.process} {level} {message}"
        if hint := getattr(record, "hint", None):
            lines += f"\nHINT: {_said(hint)}"
        if record.exc_text:
            lines += f"\n{record.exc_text.rstrip()}"
        return lines.replace("\n", "\n  ")


class ReportFormatter(TextFormatter):
    """As TextFormatter, but the error a command ends with stands there as ``ERROR: message``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return ``record`` as text, without a final line end."""
        if not getattr(record, "report", False):
            return super().format(record)
        hint = getattr(record, "hint", None)
        return f"ERROR: {_said(record.getMessage())}" + (f"\nHINT: {_said(hint)}" if hint else "")


def _said(text: object) -> str:
    """Return what a person reads: of several lines, and without anything else that steers."""
    return printable(str(text), keep="\n\t")


class JsonFormatter(logging.Formatter):
    """One JSON object a record; what the caller passed as ``extra`` becomes members of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return ``record`` as one line of JSON."""
        moment = time.localtime(record.created)
        members: dict[str, object] = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", moment)
            + f".{int(record.msecs):03d}"
            + time.strftime("%z", moment),
            "pid": record.process,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        members.update(
            {name: value for name, value in _fields(record).items() if value is not None}
        )
        if record.exc_text:
            members["traceback"] = record.exc_text
        return json.dumps(members, default=str, ensure_ascii=False)


# -- handlers --------------------------------------------------------------------------------------


class LineHandler(logging.Handler):
    """Writes each record with one ``write()``, to a descriptor that it may own.

    The kernel appends one write as a whole (for a pipe up to PIPE_BUF, 4096 bytes on Linux), so
    the lines of several processes stay apart without a lock between them.
    """

    def __init__(self, descriptor: int, *, owned: bool) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._owned = owned

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of ``record``, without secrets."""
        return super().format(redacted(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record``. A log that cannot be written never stops the work."""
        line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):
            written = os.write(self._descriptor, line)
            while written < len(line):
                written += os.write(self._descriptor, line[written:])

    def close(self) -> None:
        """Close the descriptor if it is this handler's own."""
        if self._owned:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._owned = False
        super().close()


class StreamHandler(LineHandler):
    """Writes to whatever ``sys.stderr`` is at that moment, so that a captured one is honoured."""

    def __init__(self, *, live: bool = False) -> None:
        super().__init__(2, owned=False)
        self._prefix = _ERASE_BELOW if live else ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of ``record``, in place of live lines where there are any."""
        return self._prefix + super().format(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record`` to stderr's descriptor, or to the object that stands in for it."""
        stream = sys.stderr
        if stream is None:
            return
        if stream is sys.__stderr__:
            super().emit(record)
            return
        with contextlib.suppress(OSError, ValueError):
            stream.write(self.format(record) + "\n")
            stream.flush()


def wants_colour(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Return whether ``stream`` is a terminal whose user did not refuse colours (NO_COLOR)."""
    if stream is None or environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


_current = LogOptions()


def current() -> LogOptions:
    """Return the options in force in this process, for a worker to be configured with."""
    return _current


def configure(options: LogOptions) -> None:
    """Log as ``options`` say, from now on, in this process.

    Calling it again replaces what the last call set up. Raises ConfigurationError when a log file
    cannot be written.
    """
    global _current  # noqa: PLW0603 - logging itself is one per process
    handlers = _handlers(options)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, LineHandler)]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    # Libraries speak up for warnings only; the level chosen is for this program's own records.
    root.setLevel(max(options.level, logging.WARNING))
    logging.getLogger("pgcopydb").setLevel(options.level)
    # It warns of what it leaves undone on a connection that is given up, with the driver's words.
    logging.getLogger("psycopg").setLevel(logging.NOTSET if options.detailed else logging.ERROR)
    _current = options


def _handlers(options: LogOptions) -> list[LineHandler]:
    stderr = StreamHandler(live=options.live and not options.json)
    stderr.setFormatter(
        JsonFormatter()
        if options.json
        else ReportFormatter(options.time_format, colour=wants_colour(sys.stderr, os.environ))
    )
    handlers: list[LineHandler] = [stderr]
    if options.file is not None:
        handlers.append(_file_handler(options.file, TextFormatter(options.time_format)))
    if options.json_file is not None:
        handlers.append(_file_handler(options.json_file, JsonFormatter()))
    return handlers


def _file_handler(path: Path, formatter: logging.Formatter) -> LineHandler:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f'the log file "{path}" cannot be written: {error.strerror}',
            hint=f"change {FILE_VARIABLE} or {JSON_FILE_VARIABLE}",
        ) from error
    handler = LineHandler(descriptor, owned=True)
    handler.setFormatter(formatter)
    return handler
