"""The supervisor's look at the load, in a thread of its own: how many worker processes there are to be."""

import logging
import threading
from collections.abc import Callable
from time import monotonic

from treadle.app.app import Treadle
from treadle.app.load import see_load
from treadle.app.storetime import here, own_time
from treadle.policy.scaling import Bounds, Memory, decide
from treadle.worker.options import WorkerOptions, unserved

log: logging.Logger = logging.getLogger("treadle.worker")

LOOK = 1.0
"""Seconds between two looks, or as many times as long as a look takes as makes it a twentieth of the time."""
SHARE = 20.0


class Scaler:
    """Looks at the load and keeps `aim`, within the bounds of the options; `changed` is told of each new one."""

    def __init__(self, app: Treadle, options: WorkerOptions, changed: Callable[[], None]) -> None:
        self.aim: int = options.processes
        self._bounds = Bounds(options.processes, options.most_processes or options.processes)
        self._app = app
        queues = [queue for queue, _ in options.queues]
        self._queues = (*queues, *unserved(app, options)) if options.named_queues else tuple(queues)
        self._changed = changed
        self._memory = Memory()
        self._leaving = threading.Event()
        self._session = app.store.session()
        self._thread = threading.Thread(target=self._serve, name="treadle scaler", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Look no more."""
        self._leaving.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._session.close()

    def _serve(self) -> None:
        pause = LOOK
        while not self._leaving.wait(pause):
            began = monotonic()
            try:
                self._look()
            except Exception:
                log.warning("the load could not be seen; trying again", exc_info=True)
            pause = max(LOOK, SHARE * (monotonic() - began))

    def _look(self) -> None:
        store = self._app.store
        now = own_time(store) or here()
        load = self._session.run(see_load(store.engine, now, self._queues))
        aim, self._memory = decide(self._bounds, self.aim, self._memory, load.sight, monotonic())
        if aim != self.aim:
            sight = load.sight
            what = f"{sight.waiting} jobs wait, {sight.running} run in {sight.slots} slots"
            log.info("%d worker processes instead of %d: %s", aim, self.aim, what)
            self.aim = aim
            self._changed()
