"""The supervisor's word to the store about workers it saw end, in a thread of its own: a busy store delays no signal."""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from treadle.engine.session import Store
from treadle.model.job import Witness
from treadle.worker.outage import UNREACHED, Outage

log: logging.Logger = logging.getLogger("treadle.worker")

PATIENCE_FIRST, PATIENCE_MOST = 0.1, 1.0
"""Seconds between two tries. After an outage the last word comes before any other worker's judgement: see `outage.GRACE`."""


class Rescuer:
    """Takes back the jobs of each lease witnessed to end, at once, and tries again for as long as the store is away."""

    def __init__(self, store: Store, delay: float) -> None:
        self._engine = store.engine
        self._session = store.session()
        self._delay = delay
        meanwhile = "the jobs of worker processes that have ended are handed back when it answers, and new ones started"
        self._outage = Outage(store.location, meanwhile, PATIENCE_MOST)
        self._witnessed: SimpleQueue[tuple[Witness, Callable[[], None]] | None] = SimpleQueue()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="treadle rescuer", daemon=True)
        self._thread.start()

    def witness(self, witness: Witness, told: Callable[[], None]) -> None:
        """A worker process has ended. Returns at once; `told` is called, in another thread, when the store knows."""
        self._witnessed.put((witness, told))

    def close(self, timeout: float) -> None:
        """Finish what was witnessed, for `timeout` seconds at most; leases left over run out by themselves."""
        self._witnessed.put(None)
        self._thread.join(timeout)
        self._leaving.set()
        self._session.close()

    def _serve(self) -> None:
        while (found := self._witnessed.get()) is not None:
            witness, told = found
            patience = PATIENCE_FIRST
            while not self._rescue(witness):
                if self._leaving.wait(patience):
                    return
                patience = min(PATIENCE_MOST, patience * 2)
            told()

    def _rescue(self, witness: Witness) -> bool:
        try:
            rescued = self._session.run(self._engine.rescue([witness], delay=self._delay))
        except UNREACHED as error:
            if not self._leaving.is_set():
                self._outage.failed(error)
            return False
        except Exception:
            if not self._leaving.is_set():
                log.exception("the store did not take back the jobs of a worker that ended; trying again")
            return False
        self._outage.reached()
        mine = sum(1 for each in rescued if each.lease == witness.lease)
        if mine:
            how = witness.exit or "a clean exit"
            why = ", because the store was away; no crash is counted" if witness.spared else ""
            log.warning("took back %d jobs of a worker process that ended with %s%s", mine, how, why)
        return True
