"""A transaction of the engine's own, on a connection that a test holds: what others do while it is open can be tried."""

from typing import Any

from treadle.engine.postgres.borrow import BorrowedSession
from treadle.engine.postgres.lent_psycopg import LentPsycopg
from treadle.engine.postgres.steps import Abroad, Gated, Recall, Way


class Ours(BorrowedSession):
    """As a user's transaction, but that the plans do not know it for one, and judge gated jobs one by one."""

    def unasked(self, step: Any) -> Any:
        if isinstance(step, Recall):
            return Gated(Way.JUDGED)
        return False if isinstance(step, Abroad) else super().unasked(step)


def ours(connection: Any) -> Ours:
    """A transaction on this connection of psycopg, to be committed by the test."""
    return Ours(LentPsycopg(connection))
