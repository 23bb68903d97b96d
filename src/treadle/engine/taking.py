"""Taking a lock within a time, so that an interrupt cannot lose it."""

from collections.abc import Callable


def take(acquire: Callable[[bool, float], bool], patience: float, held: list[bool]) -> bool:
    """Take a lock within `patience` seconds, and write into `held` whether it came. Who finds True there lets go of it.

    Both in one call into C. A signal's handler that raises does so between two calls of Python: behind `acquire` it takes the
    answer away, and a lock that nobody knew to be taken kept every other thread out for ever.
    """
    held.extend(map(acquire, (True,), (patience,)))
    return held[-1]
