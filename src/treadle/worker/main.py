"""The entry of one worker process: take orders from the supervisor, load the app, serve, leave."""

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from treadle.app.app import Treadle
from treadle.model.errors import StoreError
from treadle.worker.control import Abandon, Away, Drain, Line, Orders, Serving, Unusable
from treadle.worker.heartbeat import EXIT_AWAY, leave
from treadle.worker.logs import configure
from treadle.worker.options import WorkerOptions, unserved
from treadle.worker.outage import one_line
from treadle.worker.start import EXIT_CONFIG, describe, load_app
from treadle.worker.worker import Worker

log: logging.Logger = logging.getLogger("treadle.worker")

LEAVING_TIME = 5.0
"""Seconds that threads of the user's may hold up the end of a process whose work is told."""


def main(arguments: Sequence[str]) -> int:
    """Serve under the supervisor at the other end of the socket whose file number is given; returns the exit code."""
    # Ctrl-C reaches the whole group of a terminal. The supervisor decides what it means; a function instead of "ignore",
    # because what a job starts would inherit the latter.
    signal.signal(signal.SIGINT, _let_pass)
    end = socket.socket(fileno=int(arguments[0]))
    end.set_inheritable(False)
    line = Line(end)
    orders = line.first()
    if orders is None:
        return 0
    options = WorkerOptions.from_json(orders.options)
    configure(json=options.json_logs, level=options.log_level, worker=f"{socket.gethostname()}:{os.getpid()}")
    try:
        app = load_app(options.target, options.url, options.namespace)
    except BaseException as error:
        line.send(Unusable(describe(error)))
        return EXIT_CONFIG
    if options.named_queues:
        options = replace(options, queues=options.queues + tuple((queue, 1) for queue in unserved(app, options)))
    # What is imported by now stays for good: the collector need not walk over it again and again.
    gc.freeze()
    with asyncio.Runner(loop_factory=_loop_factory(options)) as runner:
        try:
            code = runner.run(_serve(app, options, orders, line))
        except StoreError as error:
            log.warning("this worker process leaves, since its store cannot be used: %s", one_line(error))
            line.send(Away())
            code = EXIT_AWAY
        except Exception:
            log.critical("this worker process cannot serve", exc_info=True)
            code = 1
        _leave_in_time(code)
    return code


async def _serve(app: Treadle, options: WorkerOptions, orders: Orders, line: Line) -> int:
    loop = asyncio.get_running_loop()
    worker = Worker(
        app, options, lease=orders.lease, ready=lambda: line.send(Serving()), away=lambda: line.send(Away()),
        after_outage=orders.after_outage,
    )  # fmt: skip
    terms = 0

    def term() -> None:
        nonlocal terms
        terms += 1
        if terms == 1:
            worker.drain()
        else:
            worker.abandon()

    def hear() -> None:
        for order in line.orders():
            if isinstance(order, Drain):
                worker.drain()
            elif isinstance(order, Abandon):
                worker.abandon()
        if not line.open:
            loop.remove_reader(line.fileno())
            log.warning("the supervisor is gone; finishing what is in hand")
            worker.drain()

    # A signal to the whole group comes here and, by way of the supervisor, as a word on the line: together they mean one
    # request, so the line and the signals are counted apart.
    loop.add_signal_handler(signal.SIGTERM, term)
    serving = loop.create_task(worker.serve(), name="treadle worker")
    # After the first step of `serve`: what it hears may arrive before the worker can be told to stop.
    loop.call_soon(loop.add_reader, line.fileno(), hear)
    return await serving


def _loop_factory(options: WorkerOptions) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if not options.uvloop:
        return None
    with contextlib.suppress(ImportError):
        # By name: where the extra is not installed there is nothing to check this against.
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
        return factory
    return None


def _leave_in_time(code: int) -> None:
    """End the process by force if threads that belong to jobs keep it from ending by itself."""
    timer = threading.Timer(LEAVING_TIME, leave, (code,))
    timer.daemon = True
    timer.start()


def _let_pass(*_: Any) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
