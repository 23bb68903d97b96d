"""Freezing a worker where it hurts nobody but itself."""

import signal
from contextlib import closing

import psutil

from chaos.fleet import strike
from treadle import Treadle
from treadle.model.errors import StoreBusy
from treadle.model.record import Space, Write


def freeze(process: psutil.Process, app: Treadle) -> None:
    """Stop a process between two of its transactions: standing still inside one of SQLite's it would stop everybody else."""
    while True:
        strike(process, signal.SIGSTOP)
        try:
            with closing(app.store.session()) as session:
                session.run(app.store.engine.write([Write(Space.SERVED, "nobody", None)]))
        except StoreBusy:
            strike(process, signal.SIGCONT)
        else:
            return
