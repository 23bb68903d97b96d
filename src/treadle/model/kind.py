"""What a value really is. An annotation is a promise of the caller, and at the doors where users come in it is looked at."""

from collections.abc import Iterable
from typing import TypeGuard, TypeVar

T = TypeVar("T")


def is_a(value: object, kind: type[T] | tuple[type[T], ...]) -> TypeGuard[T]:
    """True if the value is of this kind, or one of these."""
    return isinstance(value, kind)


def is_list(value: object) -> bool:
    """True for what can be gone through, item by item, and is not text."""
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes))


def is_number(value: object) -> TypeGuard[float]:
    """True for an int or a float; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole(value: object, least: int, most: int) -> TypeGuard[int]:
    """True for a whole number from `least` to `most`; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
