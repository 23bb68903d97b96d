"""Exceptions that resist being written down."""

import threading
from collections.abc import Callable


class Mute(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")


class Faceless(Exception):
    """Neither its text nor its representation can be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    def __repr__(self) -> str:
        raise RuntimeError("no face either")


class Unpicklable(Exception):
    """Holds what cannot leave its process, and cannot be made again from its arguments."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__("needs two arguments")
        self.lock = threading.Lock()

    def __reduce__(self) -> str:
        raise TypeError("cannot be pickled")


class Liar(Exception):
    """Its class says that it has another name, which is no text."""

    __module__ = 7  # type: ignore[assignment]


def mute() -> None:
    raise Mute


def faceless() -> None:
    raise Faceless


def unpicklable() -> None:
    raise Unpicklable(1, 2)


def liar() -> None:
    raise Liar("who am I?")


def huge() -> None:
    raise ValueError("x" * 5_000_000)


def surrogate() -> None:
    raise ValueError("half a character: \ud800, a null: \x00, and a bell: \x07")


def chain() -> None:
    """A cause of a cause of a cause, three hundred deep."""
    error: Exception = ValueError("the first")
    for number in range(300):
        outer = ValueError(f"number {number}")
        outer.__cause__ = error
        error = outer
    raise error


def circle() -> None:
    """Two errors, each the cause of the other."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    raise one


def crowd() -> None:
    raise ExceptionGroup("many", [ValueError(str(number)) for number in range(2000)])


def recursion() -> None:
    recursion()


def leave() -> None:
    raise SystemExit(3)


def interrupt() -> None:
    raise KeyboardInterrupt


def generator_exit() -> None:
    raise GeneratorExit


RAISERS = (
    mute,
    faceless,
    unpicklable,
    liar,
    huge,
    surrogate,
    chain,
    circle,
    crowd,
    recursion,
    leave,
    interrupt,
    generator_exit,
)
NASTY: dict[str, Callable[[], None]] = {each.__name__: each for each in RAISERS}
