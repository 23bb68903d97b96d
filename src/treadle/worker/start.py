"""What every process of a worker does first: load what it is to serve, or say why it cannot."""

import logging
import traceback

from treadle.app.app import Treadle
from treadle.app.loader import load
from treadle.engine.session import Store
from treadle.model.errors import CannotOpen, StoreBusy, TreadleError

log: logging.Logger = logging.getLogger("treadle.worker")

EXIT_CONFIG = 78
"""The exit code of a process that cannot serve its target, now or on any later try."""


def load_app(target: str, url: str | None, namespace: str | None = None) -> Treadle:
    """The app to serve, on the store at `url` and in `namespace` where they are given. Raises what `app.loader.load` raises."""
    app = load(target)
    if url is not None or namespace is not None:
        app.connection.point_at(url, namespace)
    return app


def describe(error: BaseException) -> str:
    """An error at the start, for the user: ours speak for themselves, anything else shows its trace."""
    return str(error) if isinstance(error, TreadleError) else "".join(traceback.format_exception(error)).rstrip()


def look_at(store: Store) -> None:
    """Open the store once: what is wrong with it is said here, in one sentence, instead of by each worker process in turn.

    Raises what opening raises. A store that is busy is no reason not to start: that passes, and worker processes wait.
    """
    session = store.session()
    try:
        session.run(store.engine.leases())
    except StoreBusy as error:
        log.warning("%s", error)
    except CannotOpen as error:
        if store.local:
            raise
        cure = "Nothing was started: let whoever starts the worker start it again until the store is there."
        raise CannotOpen(f"{error} {cure}") from error
    finally:
        session.close()
