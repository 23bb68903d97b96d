"""Exceptions as text: complete, capped, and never the cause of another exception."""

import pytest

from treadle.app.failure import capture, read_record


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


class Leaving(Exception):
    def __str__(self):
        raise SystemExit(3)


class Lying(Exception):
    @property
    def __notes__(self):
        raise KeyError("notes")


def caught(error):
    try:
        raise error
    except BaseException as exc:
        return exc


def deep(levels):
    if levels == 0:
        raise ValueError("bottom")
    deep(levels - 1)


def test_a_record_says_what_happened_and_where():
    failure = capture(caught(ValueError("no such order: 7")))
    record = read_record(failure.json)
    assert record.error == "ValueError"
    assert record.message == "no such order: 7"
    assert failure.summary == "ValueError: no such order: 7"
    assert [each.function for each in record.frames] == ["caught"]
    assert not record.frames[0].file.startswith("/")
    assert record.next is None


def test_a_foreign_class_carries_its_module():
    assert read_record(capture(caught(Unspeakable())).json).error == f"{__name__}.Unspeakable"


@pytest.mark.parametrize(
    "error",
    [
        Unspeakable(),
        Leaving(),
        Lying(),
        ValueError("\ud800 lone"),
        ValueError(b"\xff\x00"),
        KeyError(object()),
        SystemExit(2),
        KeyboardInterrupt(),
        ExceptionGroup("many", [ValueError("a"), OSError("b")]),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    ],
    ids=lambda error: type(error).__name__.encode("ascii", "replace").decode(),
)
def test_no_exception_breaks_the_record(error):
    failure = capture(caught(error))
    record = read_record(failure.json)
    assert record.error
    assert failure.fingerprint
    assert failure.summary


def test_notes_and_the_chain_are_kept():
    try:
        try:
            raise OSError("disk")
        except OSError as first:
            first.add_note("while saving 7")
            raise ValueError("cannot save") from first
    except ValueError as exc:
        record = read_record(capture(exc).json)
    assert (record.link, record.next.error, record.next.notes) == ("cause", "OSError", ["while saving 7"])


def while_handling():
    try:
        raise OSError("disk")
    except OSError:
        raise ValueError("while handling")  # noqa: B904


def alone():
    try:
        raise OSError("disk")
    except OSError:
        raise ValueError("alone") from None


def test_an_error_raised_while_handling_another_is_linked_unless_it_says_from_none():
    with pytest.raises(ValueError) as handling:
        while_handling()
    assert read_record(capture(handling.value).json).link == "context"
    with pytest.raises(ValueError) as lonely:
        alone()
    assert read_record(capture(lonely.value).json).next is None


def test_a_chain_that_bites_its_tail_ends():
    one, two = caught(ValueError("one")), caught(ValueError("two"))
    one.__cause__, two.__cause__ = two, one
    assert read_record(capture(one).json).next.next is None


def test_everything_is_capped():
    error = ValueError("x" * 1_000_000)
    for number in range(100):
        error.add_note(f"{number} " + "n" * 10_000)
    chain = error
    for number in range(50):
        parent = ValueError(f"level {number}" + "y" * 100_000)
        parent.__cause__ = chain
        chain = parent
    assert len(capture(caught(chain)).json) < 40_000
    assert len(capture(caught(error)).summary) <= 300


def test_a_deep_trace_keeps_both_ends():
    try:
        deep(300)
    except ValueError as exc:
        record = read_record(capture(exc).json)
    assert len(record.frames) == 40
    assert record.skipped == 302 - 40
    assert record.frames[0].function == "test_a_deep_trace_keeps_both_ends"
    assert record.frames[-1].function == "deep"


def test_one_mistake_has_one_fingerprint_whatever_its_values():
    prints = {capture(caught(ValueError(str(number)))).fingerprint for number in range(3)}
    assert len(prints) == 1
    assert capture(caught(TypeError("0"))).fingerprint not in prints
    assert capture(ValueError("0")).fingerprint not in prints


def test_timeouts_of_different_tasks_are_different_mistakes() -> None:
    first, again, other = (capture(TimeoutError("too long"), task).fingerprint for task in ("one", "one", "other"))
    assert first == again != other
    raised = caught(ValueError("with frames"))
    assert capture(raised, "one").fingerprint == capture(raised, "other").fingerprint
