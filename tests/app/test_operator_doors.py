"""What an operator can say wrongly to the client: one error that names it, and nothing has changed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle import BadInput, Treadle
from treadle.app.client import Client
from treadle.model.filter import Filter, Page

NO_UNICODE = "\ud800"

WRONG: dict[str, Callable[[Client, str], object]] = {
    "an id that is no Unicode": lambda client, _: client.get(NO_UNICODE),
    "an id among others": lambda client, job: client.cancel([job, NO_UNICODE]),
    "an id of another type": lambda client, _: client.cancel(5),  # type: ignore[arg-type]
    "ids of another type": lambda client, _: client.erase([5]),  # type: ignore[list-item]
    "text for ids": lambda client, _: client.find(Filter(ids="abc")),
    "a state that is none": lambda client, _: client.cancel(Filter(states=("lost",))),  # type: ignore[arg-type]
    "a status that is none": lambda client, _: client.find(Filter(status="lost")),
    "a number for a tag": lambda client, _: client.erase(tag=5),  # type: ignore[arg-type]
    "a tag that is no Unicode": lambda client, _: client.erase(tag=NO_UNICODE),
    "a limit below nothing": lambda client, _: client.find(Filter(), Page(limit=-1)),
    "a limit beyond the store": lambda client, _: client.find(Filter(), Page(limit=2**70)),
    "half a job": lambda client, _: client.find(Filter(), Page(limit=1.5)),  # type: ignore[arg-type]
    "a reason that is no Unicode": lambda client, job: client.cancel(job, NO_UNICODE),
    "a number for a reason": lambda client, _: client.pause("default", 5),  # type: ignore[arg-type]
    "a reason to pause that is no Unicode": lambda client, _: client.pause("default", NO_UNICODE),
    "a note that is no Unicode": lambda client, job: client.annotate(job, NO_UNICODE),
    "an actor that is no Unicode": lambda client, job: client.acting_as(NO_UNICODE).cancel(job),
}


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Treadle]:
    url = "memory://doors" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    app = Treadle(url, allow_volatile=True)
    yield app
    app.close()


@pytest.mark.parametrize("case", WRONG)
def test_what_an_operator_says_wrongly_changes_nothing(app: Treadle, case: str) -> None:
    @app.task(name="plain")
    def plain() -> None: ...

    job = plain.options(tags=["tag"]).enqueue().job()
    with pytest.raises(BadInput) as caught:
        WRONG[case](app.client, job.id)
    str(caught.value).encode()
    assert app.client.get(job.id) == job
    assert [(each.name, each.paused) for each in app.client.queues()] == [("default", False)]


def test_a_pause_without_a_word_is_shown(app: Treadle) -> None:
    reason: Any = None
    app.client.pause("default", reason)
    assert [(each.paused, each.paused_why) for each in app.client.queues()] == [(True, "")]
