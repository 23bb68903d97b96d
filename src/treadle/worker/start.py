"""What every process of a worker does first: load what it is to serve, or say why it cannot."""

import traceback

from treadle.app.app import Treadle
from treadle.app.loader import load
from treadle.model.errors import TreadleError

EXIT_CONFIG = 78
"""The exit code of a process that cannot serve its target, now or on any later try."""


def load_app(target: str, url: str | None) -> Treadle:
    """The app to serve, on the store at `url` when one is given. Raises what `app.loader.load` raises."""
    app = load(target)
    if url is not None:
        app.connection.point_at(url)
    return app


def describe(error: BaseException) -> str:
    """An error at the start, for the user: ours speak for themselves, anything else shows its trace."""
    return str(error) if isinstance(error, TreadleError) else "".join(traceback.format_exception(error)).rstrip()
