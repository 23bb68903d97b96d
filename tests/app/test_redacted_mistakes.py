"""What is said of a redacted argument or result that does not fit: which, and what kind of mistake, and not a word of it."""

import enum
import json
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import pytest

from treadle import InvalidArguments, InvalidResult, Redacted, Treadle
from treadle.app.failure import capture
from treadle.model.job import NewJob
from treadle.model.state import State
from treadle.testing import drain

APP = Treadle()


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Picky:
    word: str

    def __post_init__(self) -> None:
        raise ValueError(f"{self.word} will not do")


@dataclass
class Holder:
    user: str
    colour: Redacted[Colour]


def colour(shade: Redacted[Colour], user: str = "") -> Redacted[Colour]: ...


def literal(shade: Redacted[Literal["red"]], user: str = "") -> Redacted[Literal["red"]]: ...


def picky(shade: Redacted[Picky], user: str = "") -> Redacted[Picky]: ...


def day(shade: Redacted[date], user: str = "") -> Redacted[date]: ...


def number(shade: Redacted[int], user: str = "") -> Redacted[int]: ...


def colours(*shade: Redacted[Colour]) -> Redacted[list[Colour]]: ...


def holder(shade: Holder, user: str = "") -> Holder: ...


MISTAKES: list[tuple[Any, Any, str]] = [
    (colour, "hunter2", "invalid enum value"),
    (colour, "hunter2 - at `$.user`", "invalid enum value"),
    (literal, "hunter2", "invalid enum value"),
    (picky, {"word": "hunter2"}, "it does not fit the annotation"),
    (day, "hunter2", "invalid RFC3339 encoded date"),
    (number, "hunter2", "expected `int`, got `str`"),
    (colours, ["hunter2"], "invalid enum value"),
    (holder, {"user": "ada", "colour": "hunter2"}, "invalid enum value"),
    (holder, {"user": "ada"}, "object missing required field `colour`"),
]


@pytest.mark.parametrize(("fn", "value", "said"), MISTAKES)
def test_stored_arguments_that_do_not_fit_are_not_quoted(fn: Any, value: Any, said: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        APP.task(name=fn.__name__)(fn).prepare(json.dumps({"shade": value}))
    assert caught.value.rule == f"{said} - at `$.shade`"
    assert "hunter2" not in capture(caught.value).json


@pytest.mark.parametrize(("fn", "value", "said"), MISTAKES)
def test_arguments_and_results_that_do_not_fit_are_not_quoted(fn: Any, value: Any, said: str) -> None:
    task = APP.task(name=fn.__name__)(fn)
    with pytest.raises(InvalidArguments) as refused:
        task.call(*value) if fn is colours else task.call(value)
    with pytest.raises(InvalidResult) as returned:
        task.encode_result(value)
    with pytest.raises(InvalidResult) as read:
        task.decode_result(json.dumps(value))
    assert said in str(refused.value)
    for error in (returned.value, read.value):
        assert error.rule == said
    for error in (refused.value, returned.value, read.value):
        assert "hunter2" not in capture(error).json


def test_a_model_does_not_quote_it_either() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        pin: int

    def model(shade: Redacted[Any]) -> None: ...

    model.__annotations__["shade"] = Redacted[Model]
    with pytest.raises(InvalidArguments) as caught:
        APP.task(name="model")(model).prepare('{"shade":{"pin":"hunter2"}}')
    assert caught.value.rule == "it does not fit the annotation - at `$.shade`"
    assert "hunter2" not in capture(caught.value).json


def test_what_is_not_redacted_is_told_as_it_is() -> None:
    def open_(shade: Colour, user: Redacted[str] = "") -> None: ...

    task = APP.task(name="open")(open_)
    with pytest.raises(InvalidArguments, match=r"invalid enum value 'blue' - at `\$\.shade`"):
        task.prepare('{"shade":"blue"}')
    with pytest.raises(InvalidArguments, match="unknown field `shades`"):
        task.prepare('{"shades":"blue"}')


def test_a_dead_letter_does_not_quote_it(treadle_app: Treadle) -> None:
    treadle_app.task(name="colour")(colour)
    stored = NewJob(id="00000000-0000-7000-8000-000000000001", task="colour", args='{"shade":"hunter2"}')
    treadle_app.connection.run(treadle_app.connection.engine.enqueue([stored]))
    drain(treadle_app)
    job = treadle_app.client.get(stored.id)
    assert job.state is State.DEAD
    assert job.reason is not None
    assert "invalid enum value - at `$.shade`" in job.reason
    assert "hunter2" not in repr(job.attempts) + job.reason
