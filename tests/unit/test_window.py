"""Hours of queues: what a window holds, across midnight, week ends and changes of the clock."""

from datetime import UTC, datetime, timedelta

import pytest

from treadle.model.errors import InvalidOption, InvalidSchedule
from treadle.policy.window import read_window


def micros(year, month, day, hour=0, minute=0):
    return round(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1_000_000)


def open_hours(window, day, step=30):
    start = datetime(*day, tzinfo=UTC)
    moments = [start + timedelta(minutes=minutes) for minutes in range(0, 24 * 60, step)]
    return [f"{each:%H:%M}" for each in moments if window.open_at(round(each.timestamp() * 1_000_000))]


def test_a_night_goes_over_midnight():
    window = read_window("22:00-06:00")
    found = open_hours(window, (2036, 3, 5), 60)
    assert found == ["00:00", "01:00", "02:00", "03:00", "04:00", "05:00", "22:00", "23:00"]
    assert str(window) == "22:00-06:00 UTC"


def test_the_end_is_not_within():
    window = read_window("9:00-17:30")
    assert window.open_at(micros(2036, 3, 5, 9))
    assert window.open_at(micros(2036, 3, 5, 17, 29))
    assert not window.open_at(micros(2036, 3, 5, 17, 30))
    assert not window.open_at(micros(2036, 3, 5, 8, 59))


def test_a_night_belongs_to_the_day_on_which_it_begins():
    window = read_window("fri 22:00-06:00")
    assert window.open_at(micros(2036, 3, 7, 23))  # a Friday
    assert window.open_at(micros(2036, 3, 8, 5))
    assert not window.open_at(micros(2036, 3, 7, 5))
    assert not window.open_at(micros(2036, 3, 8, 23))


def test_several_stretches_and_days_around_the_end_of_the_week():
    window = read_window("mon-fri 20:00-24:00, SAT-mon 00:00-06:00")
    assert [window.open_at(micros(2036, 3, day, 5)) for day in range(3, 10)] == [True] + [False] * 4 + [True] * 2
    assert [window.open_at(micros(2036, 3, day, 21)) for day in range(3, 10)] == [True] * 5 + [False] * 2


def test_wall_time_decides_where_clocks_change():
    window = read_window("02:00-04:00", "Europe/Paris")
    # Forward on 30 March 2036, from 02:00 to 03:00: one hour is left. Back on 26 October, from 03:00 to 02:00: three.
    assert open_hours(window, (2036, 3, 30)) == ["01:00", "01:30"]
    assert open_hours(window, (2036, 10, 26)) == ["00:00", "00:30", "01:00", "01:30", "02:00", "02:30"]


@pytest.mark.parametrize(
    "text",
    ["", "night", "22-06", "25:00-06:00", "22:60-06:00", "06:00-06:00", "24:00-06:00", "xyz 22:00-06:00", "22:00-06:00,", 5],
)
def test_what_is_no_window_is_refused_with_a_cure(text):
    with pytest.raises(InvalidOption):
        read_window(text)


def test_a_zone_must_exist():
    with pytest.raises(InvalidSchedule):
        read_window("22:00-06:00", "Mars/Olympus")


@pytest.mark.parametrize(
    ("text", "zone", "moment", "opens"),
    [
        ("03:00-04:00", "UTC", "2026-11-23T01:10:30Z", "2026-11-23T03:00:00Z"),
        ("03:00-04:00", "UTC", "2026-11-23T04:00:00Z", "2026-11-24T03:00:00Z"),
        ("sat-sun 10:07-24:00", "Asia/Kathmandu", "2026-11-23T00:00:00Z", "2026-11-28T04:22:00Z"),
        # The hour in which it begins is left out when clocks go forward: it begins with the next.
        ("02:30-06:00", "Europe/Paris", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"),
        # All of it is left out.
        ("sun 02:10-02:50", "Europe/Paris", "2026-03-23T00:00:00Z", "2026-04-05T00:10:00Z"),
        # What clocks show twice it is open for twice.
        ("02:00-02:30", "Europe/Paris", "2026-10-25T00:40:00Z", "2026-10-25T01:00:00Z"),
    ],
)
def test_when_it_opens_next(text, zone, moment, opens):
    found = read_window(text, zone).opens_at(round(datetime.fromisoformat(moment).timestamp() * 1_000_000))
    assert found == round(datetime.fromisoformat(opens).timestamp() * 1_000_000)
