"""What every process of a worker does first: load what it is to serve and see what it can, or say why it cannot."""

import logging
import traceback
from collections.abc import Mapping

from treadle.app.app import Treadle
from treadle.app.loader import load
from treadle.app.registry import Registry
from treadle.engine.session import Store
from treadle.model.errors import CannotOpen, StoreBusy, TreadleError

log: logging.Logger = logging.getLogger("treadle.worker")

EXIT_CONFIG = 78
"""The exit code of a process that cannot serve its target, now or on any later try."""
_OPTIONS = {"loop": "--async-slots", "thread": "--threads", "process": "--children"}
"""The options that say how many bodies each executor runs."""


def load_app(target: str, url: str | None, namespace: str | None = None) -> Treadle:
    """The app to serve, on the store at `url` and in `namespace` where they are given. Raises what `app.loader.load` raises."""
    app = load(target)
    if url is not None or namespace is not None:
        app.connection.point_at(url, namespace)
    return app


def claimed_here(registry: Registry, slots: Mapping[str, int]) -> tuple[str, ...]:
    """The tasks of which a worker with these slots will claim jobs; the log says what is missing, and where to look."""
    names: dict[str, list[str]] = {place: [] for place in slots}
    for name in registry.names():
        task = registry.get(name)
        assert task is not None
        names[task.settings.executor].append(name)
    if not any(names.values()):
        log.warning("this app has no task, so nothing will be claimed: is the module imported in which its tasks are declared?")
    for place, its in names.items():
        if its and not slots[place]:
            log.warning("%s is 0, so jobs of %s wait for another worker", _OPTIONS[place], ", ".join(its))
    return tuple(name for place in names if slots[place] for name in names[place])


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
