"""Cron expressions: what is read, what is refused, and that another reading of cron agrees."""

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise

import pytest
from cronsim import CronSim
from hypothesis import example, given, settings
from hypothesis import strategies as st

from treadle.model.errors import InvalidSchedule
from treadle.policy.cron import NICKNAMES, Cron, read_cron
from treadle.policy.slots import SECOND, WallTime, find_zone

EVERY_DAY = frozenset(range(1, 32))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("0", (0,)),
        ("59", (59,)),
        ("5,3,5", (3, 5)),
        ("10-13", (10, 11, 12, 13)),
        ("10-20/5", (10, 15, 20)),
        ("*/20", (0, 20, 40)),
        ("*/60", (0,)),
        ("1-3,50-52/2,*/30", (0, 1, 2, 3, 30, 50, 52)),
        ("007", (7,)),
    ],
)
def test_a_field_is_numbers_ranges_lists_and_steps(field: str, values: tuple[int, ...]) -> None:
    assert read_cron(f"{field} 0 * * *").minutes == values


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("sun", {0}),
        ("7", {0}),
        ("0", {0}),
        ("MON-fri", {1, 2, 3, 4, 5}),
        ("fri-sun", {5, 6, 0}),
        ("5-7", {5, 6, 0}),
        ("1-7/2", {1, 3, 5, 0}),
        ("sat,sun", {6, 0}),
        ("0-6", {0, 1, 2, 3, 4, 5, 6}),
    ],
)
def test_the_week_begins_and_may_end_on_sunday(field: str, values: set[int]) -> None:
    assert read_cron(f"0 0 * * {field}").weekdays == values


def test_months_have_names() -> None:
    assert read_cron("0 0 1 jan,Mar-MAY *").months == {1, 3, 4, 5}


@pytest.mark.parametrize("name", NICKNAMES)
def test_a_nickname_is_its_expression(name: str) -> None:
    assert read_cron(name) == read_cron(f"  {name.upper()} ") == read_cron(NICKNAMES[name])


def test_every_hour_is_what_it_means_and_not_how_it_is_written() -> None:
    said = ["0 * * * *", "0 */1 * * *", "0 0-23 * * *", "0 0-11,12-23 * * *"]
    assert all(read_cron(each).every_hour for each in said)
    assert not read_cron("0 1-23 * * *").every_hour


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "five fields, not 0"),
        ("* * * *", "five fields, not 4"),
        ("0 0 * * * *", 'Write the last five, "0 * * * *", or every="10s"'),
        ("* * * * * * *", "five fields, not 7"),
        (
            "*/90 * * * *",
            "a step of 90 is larger than the 60 values of the minute that it steps through. For longer intervals write every=",
        ),
        ("0 */25 * * *", "a step of 25 is larger than the 24 values of the hour"),
        ("0 10-12/4 * * *", "larger than the 3 values"),
        ("*/0 * * * *", "a step of 0 in the minute goes nowhere"),
        ("60 * * * *", "'60' is no minute. Use a whole number from 0 to 59"),
        ("0 24 * * *", "'24' is no hour"),
        ("0 0 0 * *", "'0' is no day of the month. Use a whole number from 1 to 31"),
        ("0 0 * 13 *", "or a name such as feb"),
        ("0 0 * * 8", "'8' is no day of the week. Use a whole number from 0 to 7, or a name such as mon"),
        ("0 0 * * monday", "'monday' is no day of the week"),
        ("0 0 L * *", "'L' is no day of the month"),
        ("0 0 * * 5#2", "'5#2' cannot be read as a day of the week"),
        ("0 0 ? * *", "'?' cannot be read"),
        ("5/15 * * * *", "Write 5-59/15."),
        ("0 22-4 * * *", "the hour range 22-4 runs backwards. Write 22-23,0-4."),
        ("0 0 * * fri-mon", "Name the days or months one by one"),
        ("1,,2 * * * *", "'' cannot be read"),
        ("-5 * * * *", "'-5' cannot be read"),
        ("١ * * * *", "cannot be read"),
        ("0 0 30 2 *", "there is no such day in the months it names"),
        ("0 0 31 4,6,9,11 *", "there is no such day"),
        ("@often", "Use one of @yearly"),
        ("@reboot", "Enqueue the job where your service starts"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_value_and_the_cure(text: str, part: str) -> None:
    with pytest.raises(InvalidSchedule) as refused:
        read_cron(text)
    assert part in str(refused.value)
    assert str(refused.value).startswith(text.strip() if part.startswith("Use one of @") else text)


def test_a_number_is_no_expression() -> None:
    with pytest.raises(InvalidSchedule, match="5: a cron expression is a text"):
        read_cron(5)  # type: ignore[arg-type]


def on(text: str, year: int = 2026) -> list[date]:
    cron = read_cron(text)
    return list(islice(cron.dates(date(year, 1, 1)), 5))


def test_two_kinds_of_day_mean_either_unless_one_begins_with_a_star() -> None:
    assert on("0 0 13 * fri") == [date(2026, 1, day) for day in (2, 9, 13, 16, 23)]
    assert on("0 0 13 * *") == [date(2026, month, 13) for month in (1, 2, 3, 4, 5)]
    # Every second day, and only if it is a Friday.
    assert on("0 0 */2 * fri") == [date(2026, 1, 9), date(2026, 1, 23), date(2026, 2, 13), date(2026, 2, 27), date(2026, 3, 13)]


def test_a_leap_day_is_waited_for() -> None:
    assert on("0 0 29 2 *", 2097)[:2] == [date(2104, 2, 29), date(2108, 2, 29)]
    assert on("0 0 31 * *") == [date(2026, month, 31) for month in (1, 3, 5, 7, 8)]


def test_the_calendar_ends() -> None:
    assert list(read_cron("0 0 1 1 *").dates(date(9997, 6, 1))) == [date(9998, 1, 1)]


def field(low: int, high: int) -> st.SearchStrategy[str]:
    """A field as people write them, valid in every reading of cron."""
    value = st.integers(low, high)
    pair = st.tuples(value, value).map(sorted).filter(lambda ends: ends[0] < ends[1])
    piece = st.one_of(
        value.map(str),
        pair.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        st.tuples(pair, st.integers(1, 5)).map(
            lambda said: f"{said[0][0]}-{said[0][1]}/{min(said[1], said[0][1] - said[0][0])}"
        ),
    )
    steps = st.integers(2, high - low).map(lambda step: f"*/{step}")
    return st.one_of(st.just("*"), st.just("*"), steps, st.lists(piece, min_size=1, max_size=3).map(",".join))


EXPRESSIONS = st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6)).map(" ".join)
MOMENTS = st.integers(946_684_800, 2_145_916_800).map(lambda at: datetime.fromtimestamp(at, UTC))


def slots(cron: Cron, zone: str, after: datetime, count: int) -> list[datetime]:
    found = WallTime(cron, find_zone(zone)).after(int(after.timestamp()) * SECOND)
    return [datetime.fromtimestamp(each / SECOND, UTC) for each in islice(found, count)]


@given(EXPRESSIONS, MOMENTS)
@settings(max_examples=300)
@example("0 0 1 1 *", datetime(2000, 1, 1, tzinfo=UTC))
@example("* * 1 1 *", datetime(2000, 1, 1, 12, tzinfo=UTC))
def test_another_reading_of_cron_agrees_where_no_clock_changes(text: str, after: datetime) -> None:
    theirs = list(islice(CronSim(text, after), 5))
    assert slots(read_cron(text), "UTC", after, len(theirs)) == theirs


@given(EXPRESSIONS, MOMENTS)
@settings(max_examples=200)
def test_slots_grow_and_are_whole_minutes(text: str, after: datetime) -> None:
    found = slots(read_cron(text), "Europe/Paris", after, 20)
    assert all(one < other for one, other in pairwise([after - timedelta(seconds=1), *found]))
    assert all(each.second == 0 for each in found)


@given(st.text(max_size=30))
@settings(max_examples=300)
def test_any_text_is_read_or_refused_in_our_own_words(text: str) -> None:
    with suppress(InvalidSchedule):
        assert read_cron(text).minutes
