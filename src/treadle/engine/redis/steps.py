"""What a plan of this engine yields, and the conversation that carries a plan out: whole, because a script is.

Redis takes nothing back, so nothing is sent while a plan may still fail. Each verb is one step, a `Call`. A call that only
reads is answered at once, as long as no write waits before it. Every other call is answered with a `Promise`, and when the
plan has come to its end all of them go out as one script, which Redis carries out whole. A plan that looks at a promise
earlier (the app's `cancel` asks what became of the alter) is stopped, what it has asked for until then is carried out, and
the plan begins again with the answers in hand.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, cast

import msgspec

from treadle.engine.plan import Plan
from treadle.engine.redis.scripts import READS

R = TypeVar("R")

encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode


@dataclass(slots=True, frozen=True)
class Call:
    """One verb with its packed parameters and the texts that go with them, and how to read its reply.

    `read` answers either what the verb promises or another `Call` that goes on where this one stopped.
    """

    verb: str
    parameters: bytes
    read: Callable[[Any], Any]
    texts: Sequence[bytes] = ()


class TooSoon(BaseException):
    """A plan looked at an answer that is only promised yet. Not an `Exception`, so that no plan catches it by chance."""


class Promise:
    """The answer to come of a call. Looking at it stops the plan; handing it on does not."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: Any = None

    def _look(self, *_: object) -> NoReturn:
        raise TooSoon

    __getattr__ = __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = _look
    __eq__ = __ne__ = __lt__ = __gt__ = __le__ = __ge__ = _look
    __hash__ = None  # type: ignore[assignment]


Round = Sequence[Call]
Replies = Sequence[Any]
Conversation = Generator[Round, Replies, R]


def converse(plan: Plan[R]) -> Conversation[R]:
    """Yields what is to be carried out together, is sent the replies, and returns the plan's answer."""
    answers: list[Any] = []
    while True:
        waiting: list[tuple[Call, Promise]] = []
        steps = plan.begin()
        try:
            place, step = 0, next(steps)
            while True:
                if place < len(answers):
                    answer = answers[place]
                elif step.verb in READS and not waiting:
                    answer = yield from _ask(step)
                    answers.append(answer)
                else:
                    answer = Promise()
                    waiting.append((step, answer))
                place += 1
                step = steps.send(answer)
        except StopIteration as stop:
            yield from _keep(waiting)
            return cast(R, _kept(stop.value))
        except TooSoon:
            yield from _keep(waiting)
            answers += [promise.value for _, promise in waiting]
        finally:
            steps.close()


def _ask(call: Call) -> Generator[Round, Replies, Any]:
    answer: Any = call
    while isinstance(answer, Call):
        [reply] = yield [answer]
        answer = answer.read(reply)
    return answer


def _keep(waiting: Sequence[tuple[Call, Promise]]) -> Generator[Round, Replies, None]:
    """Carry out what waits, as one, and fill the promises."""
    if not waiting:
        return
    replies = yield [call for call, _ in waiting]
    for (call, promise), reply in zip(waiting, replies, strict=True):
        answer = call.read(reply)
        promise.value = (yield from _ask(answer)) if isinstance(answer, Call) else answer


def _kept(answer: Any) -> Any:
    """The answer with every promise in it replaced by what it became. A plan hands answers on bare or in tuples."""
    if isinstance(answer, Promise):
        return answer.value
    if type(answer) is tuple:
        parts: Any = answer
        return tuple(_kept(each) for each in parts)
    return answer
