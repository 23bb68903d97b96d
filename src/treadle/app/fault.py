"""Where inside a value something stands that JSON cannot carry. Looked for only once it is known that there is something."""

import math
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec

_FOREIGN = "a foreign value"
"""Stands first in a list in the place of a value that nothing here can encode; known by being this very object."""


def first_fault(value: Any, encode_foreign: Callable[[Any], Any], secret: frozenset[str] = frozenset()) -> str | None:
    """What JSON cannot carry inside a value, with the path to the first of it; None if there is none.

    Paths are written as msgspec writes them, `$` being the value. Nothing is said of what stands below a `secret` name.
    """

    def encode(inner: Any) -> Any:
        try:
            return encode_foreign(inner)
        except TypeError as error:
            return [_FOREIGN, str(error)]

    plain = msgspec.to_builtins(value, enc_hook=encode)
    for name, inner in plain.items() if secret else ():
        if name in secret and (found := next(_faults(inner, ""), None)):
            return f"{found[0]} - at `$.{name}`"
    found = next(_faults(plain, "$"), None)
    return None if found is None else f"{found[0]} - at {found[1]}"


def not_finite(value: Any) -> bool:
    """True for the numbers that JSON does not have."""
    return isinstance(value, float) and not math.isfinite(value)


def _faults(value: Any, path: str) -> Iterator[tuple[str, str]]:
    rule = _rule(value)
    if rule is not None:
        yield rule, f"`{path}`"
    elif isinstance(value, dict):
        for key, inner in cast("Any", value).items():
            rule = _rule(key)
            if rule is not None:
                yield rule, f"`key` in `{path}`"
            yield from _faults(inner, path + (f".{key}" if str(key).isidentifier() else f"[{key!r}]"))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for place, inner in enumerate(cast("Any", value)):
            yield from _faults(inner, f"{path}[{place}]")


def _rule(value: Any) -> str | None:
    """What forbids this value itself, whatever is inside it."""
    if not_finite(value):
        return "NaN and infinity are not JSON numbers"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return f"surrogates are not Unicode text, and one stands at position {error.start}"
    match value:
        case [mark, str() as said] if mark is _FOREIGN:
            return said
        case _:
            return None
