"""Memory that was freed goes back to the system, where the C library has a word for that."""

import ctypes
from collections.abc import Callable


def trimmer() -> Callable[[], object] | None:
    """What returns freed memory to the system, or None where there is no such thing (musl, macOS).

    glibc's `malloc` keeps what lies below the top of its heap. A worker whose store had dropped and refilled its page cache
    once held 8 MB more for good, a fifth of all it had, and looked as if it leaked.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return None
    return lambda: trim(0)  # without the interpreter's lock, as every call through ctypes
