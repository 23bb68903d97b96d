"""A worker's settings: what is refused, and that they arrive whole in another process."""

import pytest

from treadle.model.errors import InvalidOption
from treadle.worker.options import WorkerOptions


def test_settings_survive_the_journey_to_another_process():
    options = WorkerOptions(target="tasks:app", queues=(("critical", 60), ("bulk", 10)), lease=2, child_max_rss=1 << 30)
    assert WorkerOptions.from_json(options.to_json()) == options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target", " "),
        ("queues", ()),
        ("queues", (("", 1),)),
        ("queues", (("a", 0),)),
        ("queues", (("a", 1), ("a", 2))),
        ("processes", 0),
        ("processes", True),
        ("async_slots", -1),
        ("lease", 0.5),
        ("grace", float("nan")),
        ("grace", float("inf")),
        ("poll", "1"),
        ("child_max_jobs", 0),
        ("child_max_age", 0.0),
        ("child_max_rss", 1.5),
        ("log_level", "LOUD"),
    ],
)
def test_a_value_that_cannot_be_used_names_itself_its_rule_and_its_cure(name: str, value: object):
    with pytest.raises(InvalidOption) as caught:
        WorkerOptions(**{"target": "tasks", name: value})
    assert caught.value.rule
    assert caught.value.cure


def test_a_worker_without_any_slot_is_refused():
    with pytest.raises(InvalidOption, match="no job could ever run"):
        WorkerOptions(target="tasks", async_slots=0, threads=0, children=0)


@pytest.mark.parametrize("text", [b"{", b'{"target":3}', b'{"target":"t","processes":0}', b"[]"])
def test_text_that_is_no_settings_is_refused_without_being_repeated(text: bytes):
    with pytest.raises(InvalidOption) as caught:
        WorkerOptions.from_json(text)
    assert text.decode() not in str(caught.value)
