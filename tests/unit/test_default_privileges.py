"""Default privileges: how a dump lists them, and how they are put back to the server's own."""

import pytest
from msgspec.structs import replace

from pgcopydb.model.readiness import DefaultPrivilege
from pgcopydb.preflight.text import statement_text
from pgcopydb.rules.default_privileges import listed, put_back
from pgcopydb.rules.toc import parse_list

GIVEN = DefaultPrivilege(
    catalog=826, oid=1, role="an owner", grantees=("an owner", "other"), to_public=True
)
ALTER = 'ALTER DEFAULT PRIVILEGES FOR ROLE "an owner" '


@pytest.mark.parametrize("schema", [None, "s", "of\n later"])
@pytest.mark.parametrize("kind", ["TABLES", "LARGE OBJECTS"])
def test_a_dump_lists_it(schema: str | None, kind: str) -> None:
    shown = "-" if schema is None else schema.replace("\n", " ")
    line = f"2105; 826 16554 DEFAULT ACL {shown} DEFAULT PRIVILEGES FOR {kind} an owner"
    (entry,) = parse_list(line, schemas=[schema or ""], owners=["an owner"])
    assert listed(replace(GIVEN, schema=schema, kind=kind)) == (
        entry.schema,
        entry.name,
        entry.owner,
    )


@pytest.mark.parametrize(
    ("privilege", "expected"),
    [
        (
            replace(GIVEN, kind="FUNCTIONS", to_public=False),
            [
                'REVOKE ALL ON FUNCTIONS FROM "an owner", "other";',
                'GRANT ALL ON FUNCTIONS TO "an owner";',
                "GRANT EXECUTE ON FUNCTIONS TO PUBLIC;",
            ],
        ),
        (
            replace(GIVEN, kind="TYPES", grantees=()),
            [
                "REVOKE ALL ON TYPES FROM PUBLIC;",
                'GRANT ALL ON TYPES TO "an owner";',
                "GRANT USAGE ON TYPES TO PUBLIC;",
            ],
        ),
        (
            replace(GIVEN, kind="SCHEMAS", grantees=(), to_public=False),
            ['GRANT ALL ON SCHEMAS TO "an owner";'],
        ),
        (
            replace(GIVEN, schema="s", grantees=("other",)),
            ['IN SCHEMA "s" REVOKE ALL ON TABLES FROM "other", PUBLIC;'],
        ),
    ],
)
def test_it_is_put_back(privilege: DefaultPrivilege, expected: list[str]) -> None:
    statements = [statement_text(one) for one in put_back(privilege)]
    assert statements == [ALTER + one for one in expected]
