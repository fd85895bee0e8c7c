"""The findings of ``pgcopydb check`` as text for a person, and as JSON for a program."""

from collections import Counter
from collections.abc import Iterator

from pgcopydb.cli.render import as_json_text
from pgcopydb.model.findings import Finding, Report, Severity
from pgcopydb.preflight.text import statement_text, told
from pgcopydb.runtime.logs import printable

_INDENT = "    "


def report_text(report: Report, *, as_json: bool) -> str:
    """Return all findings, the gravest first, each with what mends it."""
    if as_json:
        return as_json_text(
            {
                "status": report.status,
                "findings": [_members(finding) for finding in report.findings],
            }
        )
    paragraphs = ["\n".join(_lines(finding)) for finding in report.findings]
    counts = Counter(finding.severity for finding in report.findings)
    total = ", ".join(f"{counts[severity]} {severity}" for severity in Severity)
    return "\n\n".join([*paragraphs, total])


def _members(finding: Finding) -> dict[str, object]:
    return {
        "severity": finding.severity,
        "side": finding.side,
        "check": finding.check,
        "message": finding.message,
        "statements": [statement_text(statement) for statement in finding.statements],
        "restart": finding.restart,
        "advice": finding.advice,
    }


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.severity}: {printable(told(finding))} [{finding.check}]"
    for statement in finding.statements:
        yield f"{_INDENT}{printable(statement_text(statement))}"
    if finding.restart:
        yield f"{_INDENT}-- then restart the server"
    if finding.advice:
        yield f"{_INDENT}-- {finding.advice}"
