"""The supervisor's word to the store about workers it saw end, in a thread of its own: a busy store delays no signal."""

import logging
import threading
from queue import SimpleQueue

from treadle.engine.session import Store
from treadle.model.job import Witness

log: logging.Logger = logging.getLogger("treadle.worker")

PATIENCE_FIRST, PATIENCE_MOST = 0.1, 5.0


class Rescuer:
    """Takes back the jobs of each lease witnessed to end, at once, and tries again for as long as the store is busy."""

    def __init__(self, store: Store, delay: float) -> None:
        self._engine = store.engine
        self._session = store.session()
        self._delay = delay
        self._witnessed: SimpleQueue[Witness | None] = SimpleQueue()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="treadle rescuer", daemon=True)
        self._thread.start()

    def witness(self, lease: str, how: str) -> None:
        """A worker process has ended; `how` is empty for a clean stop. Returns at once."""
        self._witnessed.put(Witness(lease, how))

    def close(self, timeout: float) -> None:
        """Finish what was witnessed, for `timeout` seconds at most; leases left over run out by themselves."""
        self._witnessed.put(None)
        self._thread.join(timeout)
        self._leaving.set()
        self._session.close()

    def _serve(self) -> None:
        while (witness := self._witnessed.get()) is not None:
            patience = PATIENCE_FIRST
            while not self._rescue(witness) and not self._leaving.wait(patience):
                patience = min(PATIENCE_MOST, patience * 2)

    def _rescue(self, witness: Witness) -> bool:
        try:
            rescued = self._session.run(self._engine.rescue([witness], delay=self._delay))
        except Exception:
            if not self._leaving.is_set():
                log.warning("the store did not take back the jobs of a worker that ended; trying again", exc_info=True)
            return False
        mine = sum(1 for each in rescued if each.lease == witness.lease)
        if mine:
            log.warning("took back %d jobs of a worker process that ended with %s", mine, witness.exit or "a clean exit")
        return True
