"""Whether a pooler stands between us and the server that gives each transaction another connection (pgbouncer, for one)."""

from collections.abc import Callable

from treadle.engine.postgres.driver import Link
from treadle.engine.postgres.statements import compiled
from treadle.engine.postgres.steps import Ask

_PROCESS = Ask(compiled("SELECT pg_backend_pid()"))


def gives_away(first: Link, connect: Callable[[], Link], deadline: float) -> bool:
    """Whether two clients at once are seen to take turns on one connection of the server. Raises as `Link.wait` does.

    A connection straight to the server is told apart at once: its process has the number that it was greeted with. Poolers
    greet with a number of their own. One that lends by the session keeps the process for the client that has it.
    """
    before = _process(first, deadline)
    if before == first.connection.pgconn.backend_pid:
        return False
    second = connect()
    try:
        second.command(b"BEGIN")
        # Asked in this order: where the server has one connection only, the first client would wait for the second.
        taken = _process(second, deadline) == before or _process(first, deadline) != before
        second.roll_back()
        second.wait(deadline)
        return taken
    finally:
        second.close()


def _process(link: Link, deadline: float) -> int:
    link.put(_PROCESS)
    link.sync()
    [[(process,)]] = link.wait(deadline)
    return int(process)
