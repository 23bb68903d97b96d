"""What an operator can say wrongly to the client: one error that names it, and nothing has changed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle import BadInput, Client, Filter, InvalidOption, Page, Treadle

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
    "a page of text for a reason": lambda client, job: client.cancel(job, "x" * 2_001),
    "a page of text for a reason to pause": lambda client, _: client.pause("default", "x" * 2_001),
    "a page of text for a note": lambda client, job: client.annotate(job, "x" * 2_001),
    "a page of text to resolve with": lambda client, job: client.resolve(job, "x" * 2_001),
    "a page of text to replay with": lambda client, job: client.replay(job, note="x" * 2_001),
    "a name as long as a novel": lambda client, job: client.acting_as("x" * 201).cancel(job),
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


def test_the_error_about_a_long_text_names_its_length_the_cap_and_the_cure(app: Treadle) -> None:
    @app.task(name="plain")
    def plain() -> None: ...

    with pytest.raises(InvalidOption, match=r"^note of 12,345 characters: at most 2,000 are kept.*Shorten it"):
        app.client.annotate([], "x" * 12_345)
    with pytest.raises(InvalidOption, match=r"^actor of 201 characters: at most 200 are kept"):
        app.client.acting_as("x" * 201)
    handle = plain.enqueue()
    with pytest.raises(InvalidOption, match=r"^reason of 2,001 characters"):
        handle.cancel("x" * 2_001)
    assert app.client.acting_as("y" * 200).cancel(handle.id, "x" * 2_000)[0].done
    assert handle.job().reason == "x" * 2_000
