"""Functions at the top of a module, as users write them, for tests to declare as tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from treadle import Redacted

if TYPE_CHECKING:
    from treadle import Context


def plain(number: int) -> int:
    return number


async def awaited(number: int) -> int:
    return number


def with_context(ctx: Context, number: int) -> int:
    return number + ctx.attempt


def takes_later(order: Later) -> Later:
    return order


def hides_later(order: Later, token: Redacted[str]) -> None: ...


@dataclass
class Later:
    number: int
