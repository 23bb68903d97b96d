"""The context: what a body knows of its job, and what it may say."""

from datetime import UTC, datetime

import pytest

from treadle import CancelJob, Context, InvalidArguments, Progress
from treadle.testing import FakeContext, drain


def test_a_body_sees_its_job(treadle_app, treadle_clock):
    seen: list[Context] = []

    def body(ctx: Context, fail: bool) -> None:
        seen.append(ctx)
        if fail and ctx.attempt == 1:
            raise ValueError("once")

    task = treadle_app.task(name="watch", tags=["kind"])(body)
    handle = task.options(queue="mail", tags=["ada"], key="7").enqueue(True)
    drain(treadle_app, through="1h")
    first, second = seen
    assert (first.id, first.task, first.queue, first.tags, first.key) == (handle.id, "watch", "mail", ("kind", "ada"), "7")
    assert (first.attempt, first.failures, second.attempt, second.failures) == (1, 0, 2, 1)
    assert first.crashes == 0
    assert first.idempotency_key == second.idempotency_key
    assert handle.id in first.idempotency_key
    assert first.enqueued_at.tzinfo is UTC
    assert first.enqueued_at <= treadle_clock.now
    assert "watch" in repr(first)


def test_a_job_without_headers_has_no_tags():
    context = FakeContext()
    assert context.tags == ()
    assert context.key is None
    assert (datetime.now(UTC) - context.enqueued_at).total_seconds() >= 0


def test_progress_is_told_and_kept(treadle_app):
    def body(ctx: Context) -> None:
        ctx.progress(0.5, "half", file="a.txt", done=3)

    handle = treadle_app.task(name="teller")(body).enqueue()
    drain(treadle_app)
    assert handle.job().progress == Progress(0.5, "half", {"file": "a.txt", "done": 3})


def test_progress_that_makes_no_sense_is_refused():
    context = FakeContext()
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidArguments, match="0 to 1"):
            context.progress(wrong)
    with pytest.raises(InvalidArguments, match="JSON"):
        context.progress(0.5, thing=object())
    assert context.reported == []
    context.progress(1, "x" * 1000)
    assert len(context.reported[0]["message"]) == 500


def test_a_body_may_ask_whether_to_stop():
    context = FakeContext()
    assert not context.cancelled
    context.check_cancelled()
    context.cancel()
    assert context.cancelled
    with pytest.raises(CancelJob):
        context.check_cancelled()
