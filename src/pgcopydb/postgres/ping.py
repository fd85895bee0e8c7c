"""Answers the question before any other: do both servers answer?"""

from concurrent.futures import ThreadPoolExecutor

from pgcopydb.errors import PgcopydbError
from pgcopydb.model.endpoint import Endpoint, Side
from pgcopydb.model.objects import ServerFacts
from pgcopydb.postgres.connect import connect, reporting
from pgcopydb.postgres.discover import server_facts


def ping(source: Endpoint, target: Endpoint, *, retry_for: float = 10) -> dict[Side, ServerFacts]:
    """Connect to both sides at once and return what they are.

    A side that is not there is tried again for ``retry_for`` seconds. Raises the error of the side
    that failed; when both did, the source's, telling of both.
    """
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda side: _facts(side, retry_for), (source, target)))
    failures = [answer for answer in answers if isinstance(answer, PgcopydbError)]
    if len(failures) == 2:
        message = "; ".join(failure.message for failure in failures)
        raise type(failures[0])(message, hint=failures[0].hint)
    if failures:
        raise failures[0]
    return {
        end.side: answer
        for end, answer in zip((source, target), answers, strict=True)
        if isinstance(answer, ServerFacts)
    }


def _facts(endpoint: Endpoint, retry_for: float) -> ServerFacts | PgcopydbError:
    try:
        with (
            connect(endpoint, purpose="ping", retry_for=retry_for) as connection,
            reporting(endpoint, "reading the server's facts"),
        ):
            return server_facts(connection)
    except PgcopydbError as error:
        return error
