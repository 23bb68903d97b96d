"""What a plan of this engine yields, and the conversation that carries a plan out: whole, because a script is.

Redis takes nothing back, so nothing is sent while a plan may still fail. Each verb is one step, a `Call`. A call that only
reads is answered at once, as long as no write waits before it. Every other call is answered with a `Promise`, and when the
plan has come to its end all of them go out as one script, which Redis carries out whole. A plan that looks at a promise
earlier (the app's `cancel` asks what became of the alter) is stopped, what it has asked for until then is carried out, and
the plan begins again with the answers in hand. A plan that has read records and then writes is begun again as well when
somebody has written such records in between, so that reading and writing are one.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeGuard, TypeVar, cast

import msgspec

from treadle.engine.plan import READS, Plan

R = TypeVar("R")

encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode


@dataclass(slots=True, frozen=True)
class Call:
    """One verb with its packed parameters and the texts that go with them, and how to read its reply.

    `read` answers either what the verb promises or another `Call` that goes on where this one stopped. `watches` names the
    space of records that is read: its reply begins with how often that space has been written. `alone` is what is sent in its
    stead where nothing else is carried out with it: it may leave the work to this one yet, having done nothing.
    """

    verb: str
    parameters: bytes
    read: Callable[[Any], Any]
    texts: Sequence[bytes] = ()
    watches: str = ""
    alone: "Call | None" = None


class TooSoon(BaseException):
    """A plan looked at an answer that is only promised yet. Not an `Exception`, so that no plan catches it by chance."""


class Promise:
    """The answer to come of a call. Looking at it stops the plan; handing it on does not."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: Any = None


def _look(*_: object) -> NoReturn:
    raise TooSoon


for _way in ("getattr", "bool", "len", "iter", "getitem", "contains", "eq", "ne", "lt", "gt", "le", "ge", "hash"):
    setattr(Promise, f"__{_way}__", _look)


@dataclass(slots=True, frozen=True)
class Round:
    """Calls to be carried out together, unless one of the spaces that were read has been written since."""

    calls: Sequence[Call]
    watched: Mapping[str, str]


Replies = Sequence[Any] | None
"""None when a space was written meanwhile, and so nothing was done."""

Conversation = Generator[Round, Replies, R]


def converse(plan: Plan[R]) -> Conversation[R]:
    """Yields what is to be carried out together, is sent the replies, and returns the plan's answer."""
    answers: list[Any] = []
    watched: dict[str, str] = {}
    while True:
        waiting: list[tuple[Call, Promise]] = []
        steps = plan.begin()
        try:
            place, step = 0, next(steps)
            while True:
                if place < len(answers):
                    answer = answers[place]
                elif step.verb in READS and not waiting:
                    answer = yield from _ask(step, watched)
                    answers.append(answer)
                else:
                    answer = Promise()
                    waiting.append((step, answer))
                place += 1
                step = steps.send(answer)
        except StopIteration as stop:
            if (yield from _keep(waiting, watched)):
                return cast(R, _kept(stop.value))
            answers, watched = [], {}
        except TooSoon:
            if (yield from _keep(waiting, watched)):
                answers += [promise.value for _, promise in waiting]
            else:
                answers = []
            watched = {}  # what was carried out stays so: from here on the plan must do with what its writes answer
        finally:
            steps.close()


def _ask(call: Call, watched: dict[str, str] | None = None) -> Generator[Round, Replies, Any]:
    answer: Any = call
    while isinstance(answer, Call):
        replies = yield Round([answer], {})
        assert replies is not None, "nothing is watched by a call that only reads"
        if answer.watches and watched is not None:
            watched.setdefault(answer.watches, replies[0][0].decode())
        answer = answer.read(replies[0])
    return answer


def _keep(waiting: Sequence[tuple[Call, Promise]], watched: Mapping[str, str]) -> Generator[Round, Replies, bool]:
    """Carry out what waits, as one, and fill the promises; False when it must be begun again."""
    if not waiting:
        return True
    calls = [call for call, _ in waiting]
    if len(calls) == 1 and not watched and calls[0].alone is not None:
        calls = [calls[0].alone]
    replies = yield Round(calls, watched)
    if replies is None:
        return False
    for call, (_, promise), reply in zip(calls, waiting, replies, strict=True):
        answer = call.read(reply)
        promise.value = (yield from _ask(answer)) if isinstance(answer, Call) else answer
    return True


def _kept(answer: Any) -> Any:
    """The answer with every promise in it replaced by what it became. A plan hands answers on bare or in tuples."""
    if isinstance(answer, Promise):
        return answer.value
    return tuple(_kept(each) for each in answer) if _is_tuple(answer) else answer


def _is_tuple(answer: Any) -> TypeGuard[tuple[Any, ...]]:
    return type(answer) is tuple
