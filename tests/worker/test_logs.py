"""Log lines name their job and hide everything else."""

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from treadle.model.job import Claimed
from treadle.worker.logs import JobFilter, JsonFormatter, clean, configure, in_job


@contextmanager
def job(claimed: Claimed) -> Iterator[None]:
    in_job(claimed)
    yield
    in_job(None)


def claimed(job: str = "job-1", args: str = '{"password":"hunter2"}') -> Claimed:
    return Claimed(
        ref=1, id=job, task="tasks.hello", version=1, codec="json", queue="mail", priority=0, attempt=3, failures=2,
        crashes=0, snoozes=0, enqueued_at=1, claimed_at=2, first_failed_at=None, start_by=None, suspect=False,
        args=args, options=None, headers=None,
    )  # fmt: skip


@pytest.fixture
def root() -> Iterator[None]:
    """The root logger, put back as it was."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def written(*, json: bool) -> tuple[io.StringIO, logging.Logger]:
    stream = io.StringIO()
    configure(json=json, worker="host:42", stream=stream)
    return stream, logging.getLogger("somebody.elses.module")


@pytest.mark.usefixtures("root")
def test_a_record_in_a_job_carries_the_job_and_never_its_arguments():
    stream, logger = written(json=True)
    with job(claimed()):
        logger.info("working")
    logger.info("idle")
    working, idle = (msgspec.json.decode(line) for line in stream.getvalue().splitlines())
    fields = {name: working.get(name) for name in ("job", "task", "queue", "attempt", "worker", "message", "level")}
    assert fields == {
        "job": "job-1", "task": "tasks.hello", "queue": "mail", "attempt": 3, "worker": "host:42", "message": "working",
        "level": "INFO",
    }  # fmt: skip
    assert "job" not in idle
    assert idle["worker"] == "host:42"
    assert "hunter2" not in stream.getvalue()


@pytest.mark.usefixtures("root")
def test_plain_lines_name_the_job_too():
    stream, logger = written(json=False)
    with job(claimed()):
        logger.warning("slow")
    line = stream.getvalue()
    assert "WARNING  somebody.elses.module: slow job=job-1 task=tasks.hello queue=mail attempt=3 worker=host:42\n" in line


@pytest.mark.usefixtures("root")
def test_each_thread_has_its_own_job():
    stream, logger = written(json=True)
    barrier = threading.Barrier(2)

    def body(name: str) -> None:
        with job(claimed(name)):
            barrier.wait(30)
            logger.info(name)
            barrier.wait(30)

    threads = [threading.Thread(target=body, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]
    assert sorted((line["message"], line["job"]) for line in lines) == [("a", "a"), ("b", "b")]


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("json", [True, False])
def test_a_message_cannot_drive_the_terminal_or_pass_for_a_record(json: bool):
    stream, logger = written(json=json)
    logger.info("a\x1b[31m\x07\x9b2J\r\n2026-01-01T00:00:00.000Z INFO     treadle.worker: forged")
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert not any(line.startswith("2026-01-01") for line in text.splitlines())


@pytest.mark.usefixtures("root")
def test_an_exception_is_written_with_its_trace():
    stream, logger = written(json=True)
    try:
        raise ValueError("no \x1bgood")
    except ValueError:
        logger.exception("failed")
    line = msgspec.json.decode(stream.getvalue())
    assert "ValueError: no good" in line["exception"]
    assert "test_logs.py" in line["exception"]


@pytest.mark.usefixtures("root")
def test_configuring_twice_writes_each_record_once():
    stream, _ = written(json=False)
    again, logger = written(json=False)
    logger.info("once")
    assert stream.getvalue() == ""
    assert again.getvalue().count("once") == 1


def test_what_a_caller_sets_stays():
    record = logging.makeLogRecord({"task": "mine", "msg": "hi"})
    with job(claimed()):
        JobFilter("w").filter(record)
    assert record.__dict__["task"] == "mine"
    assert record.__dict__["job"] == "job-1"


def test_text_that_is_not_unicode_is_still_written():
    record = logging.makeLogRecord({"msg": "half a \ud800 character", "name": "x", "levelname": "INFO"})
    assert msgspec.json.decode(JsonFormatter().format(record))["message"] == r"half a \ud800 character"
    assert clean("tab\tand\nline") == "tab\tand\nline"
