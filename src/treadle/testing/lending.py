"""A store in memory, lent to an app for the length of a test."""

from collections.abc import Generator
from contextlib import contextmanager

from treadle.app.app import Treadle
from treadle.engine.open import open_store
from treadle.engine.session import Store
from treadle.testing.clock import ClockedStore, VirtualClock


@contextmanager
def on_memory(app: Treadle, clock: VirtualClock | None = None) -> Generator[Treadle]:
    """Let an app keep its jobs in a fresh store in memory until the block ends, whatever its URL says.

    With a clock, everything in the store happens at the clock's moment. The app's own store is not touched.
    """
    lent: Store = open_store("memory://", namespace="treadle", allow_volatile=True)
    store = lent if clock is None else ClockedStore(lent, clock)
    before = app.connection.exchange((store, store.session()))
    try:
        yield app
    finally:
        app.connection.exchange(before)
        lent.close()
