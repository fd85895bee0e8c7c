"""``pgcopydb demo``."""

from pgcopydb.cli.command import command


@command("demo")
def demo() -> None:
    """Watch a live migration on servers of its own.

    Starts two PostgreSQL servers, moves a database from one to the other while clients keep
    writing to it, and checks that nothing was lost. Needs the extra pgcopydb[demo].
    """
    from pgcopydb.demo.run import demo as show

    show()
