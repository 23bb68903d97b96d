"""Blocking work beside an event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")


def aside(work: Callable[[], R]) -> "asyncio.Future[R]":
    """Do `work` in a thread, or here and now where no thread can be had any more: an atexit hook may enqueue as well."""
    loop = asyncio.get_running_loop()
    turns = [work]

    def once() -> R:  # what could not be begun may stand in a queue all the same
        return turns.pop()()

    try:
        return loop.run_in_executor(None, once)
    except RuntimeError:
        done: asyncio.Future[R] = loop.create_future()
        try:
            done.set_result(once())
        except Exception as error:  # noqa: BLE001 - it belongs to who waits
            done.set_exception(error)
        return done
