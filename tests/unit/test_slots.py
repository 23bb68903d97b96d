"""Slots: over every zone and every change of its clocks from 2000 to 2037, and what is refused."""

import random
from bisect import bisect_right
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.model.errors import InvalidSchedule
from treadle.policy.cron import read_cron
from treadle.policy.slots import SECOND, Interval, WallTime, find_zone, instant
from unit.zones import BEGIN, DAY, END, Change, changes, offset, zones

HOUR = 3600
MINUTE = 60
GROUPS = zones()


def between(text: str, zone: str, start: int, end: int) -> list[int]:
    """The slots after `start` up to `end`, in seconds."""
    found = WallTime(read_cron(text), find_zone(zone)).after(start * SECOND)
    return [slot // SECOND for slot in takewhile(lambda slot: slot <= end * SECOND, found)]


def naive(at: int) -> datetime:
    """A number of seconds as a wall clock shows it where the offset is nothing."""
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None)


def expected(wall: int, around: list[Change], first_offset: int) -> int:
    """When a wall time (as seconds on the wall's own axis) is to run: by the table of changes alone."""
    begin, known = None, first_offset
    for change in [*around, None]:
        end = None if change is None else change.at
        at = wall - known
        if (begin is None or at >= begin) and (end is None or at < end):
            return at
        if change is not None:
            if change.at + change.before <= wall < change.at + change.after:
                return change.at
            begin, known = change.at, change.after
    raise AssertionError("a wall time lies in some stretch or in some gap")


def minutes_to_try(change: Change) -> set[int]:
    """The minutes of the day that matter at a change: the edges of the gap or of the repeated time, and inside it."""
    edges = (change.at + change.before, change.at + change.after)
    low, high = min(edges), max(edges)
    moments = (low - MINUTE, low, (low + high) // 2, high - MINUTE, high)
    return {moment % DAY // MINUTE for moment in moments} | {0}


@pytest.mark.repeats
def test_the_list_of_zones_is_the_whole_one() -> None:
    names = [name for group in GROUPS for name in group]
    assert len(names) == len(set(names)) > 550
    assert {"Europe/Paris", "Australia/Lord_Howe", "Pacific/Apia", "Antarctica/Troll", "Asia/Pyongyang"} <= set(names)
    assert sum(len(changes(group[0])) for group in GROUPS) > 8000


@pytest.mark.repeats
def test_hourly_fires_in_each_hour_of_utc_once_at_every_change_of_every_zone() -> None:
    for group in GROUPS:
        for change in changes(group[0]):
            first = (change.at - 30 * HOUR) // HOUR
            found = between("0 * * * *", group[0], first * HOUR - 1, (first + 60) * HOUR - 1)
            assert [slot // HOUR for slot in found] == list(range(first, first + 60)), (group, change)


@pytest.mark.repeats
def test_minutes_within_every_hour_keep_their_number_at_every_change_of_every_zone() -> None:
    for group in GROUPS:
        for change in changes(group[0]):
            first = (change.at - 2 * HOUR) // HOUR
            found = between("7,22,50 * * * *", group[0], first * HOUR - 1, (first + 5) * HOUR - 1)
            assert Counter(slot // HOUR for slot in found) == dict.fromkeys(range(first, first + 5), 3), (group, change)
            steady = [slot for slot in found if not change.at - HOUR < slot < change.at + HOUR]
            zone = ZoneInfo(group[0])
            assert {datetime.fromtimestamp(slot, zone).minute for slot in steady} == {7, 22, 50}, (group, change)


@pytest.mark.repeats
def test_a_daily_time_fires_each_slot_once_by_the_rule_at_every_change_of_every_zone() -> None:
    moved = 0
    for group in GROUPS:
        known = changes(group[0])
        for change in known:
            start, end = change.at - 2 * DAY, change.at + 2 * DAY
            around = [each for each in known if start - 2 * DAY <= each.at <= end + 2 * DAY]
            base = around[0].before
            for minute in minutes_to_try(change):
                days = range((start + base) // DAY - 1, (end + base) // DAY + 2)
                walls = [day * DAY + minute * MINUTE for day in days]
                wanted = sorted({expected(wall, around, base) for wall in walls})
                found = between(f"{minute % 60} {minute // 60} * * *", group[0], start, end)
                assert found == [at for at in wanted if start < at <= end], (group, change, minute)
                moved += change.at in found and change.after > change.before
                shown = [naive(at + offset(ZoneInfo(group[0]), at)) for at in found]
                assert len(set(shown)) == len(shown), "no wall time runs twice"
    assert moved > 3000


@pytest.mark.repeats
@pytest.mark.parametrize(
    "name", ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Antarctica/Troll"]
)
def test_a_daily_time_fires_each_day_from_2000_to_2037(name: str) -> None:
    known, base = list(changes(name)), offset(ZoneInfo(name), BEGIN)
    days = range(BEGIN // DAY + 2, END // DAY - 2)
    starts = [change.at for change in known]
    for minute in (150, 0, 23 * 60 + 45):
        wanted: set[int] = set()
        for day in days:
            wall = day * DAY + minute * MINUTE
            place = bisect_right(starts, wall)
            near = known[max(0, place - 3) : place + 3]
            wanted.add(expected(wall, near, near[0].before if near else base))
        found = between(f"{minute % 60} {minute // 60} * * *", name, min(wanted) - 1, max(wanted))
        assert found == sorted(wanted)


@pytest.mark.repeats
def test_between_changes_every_zone_follows_its_clock() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for group in GROUPS:
        zone = ZoneInfo(group[0])
        for _ in range(20):
            start = chance.randrange(BEGIN, END)
            minute = chance.randrange(1440)
            [found] = islice(WallTime(read_cron(f"{minute % 60} {minute // 60} * * *"), zone).after(start * SECOND), 1)
            local = datetime.fromtimestamp(found // SECOND, zone)
            if not any(abs(change.at - found // SECOND) < 2 * DAY for change in changes(group[0])):
                assert (local.hour, local.minute) == divmod(minute, 60), (group, start, seed)
                assert 0 < found // SECOND - start <= DAY


def some_change() -> st.SearchStrategy[tuple[str, Change]]:
    return st.sampled_from([(group[0], change) for group in GROUPS for change in changes(group[0])])


@given(
    st.deferred(some_change),
    st.integers(-180, 180),
)
@settings(max_examples=150)
def test_the_instant_of_a_wall_time_is_found_by_looking_at_every_minute(where: tuple[str, Change], minutes: int) -> None:
    name, change = where
    zone = ZoneInfo(name)
    wall = naive(change.at + change.before) + timedelta(minutes=minutes)
    reach = abs(change.after - change.before) + 4 * HOUR
    shown = [(at, naive(at + offset(zone, at))) for at in range(change.at - reach, change.at + reach, MINUTE)]
    same = [at for at, seen in shown if seen == wall]
    wanted = same[0] if same else next(at for at, seen in shown if seen > wall)
    assert instant(wall, zone) == wanted


def local(text: str, zone: str, start: str, count: int) -> list[str]:
    after = int(datetime.fromisoformat(start).timestamp()) * SECOND
    found = islice(WallTime(read_cron(text), find_zone(zone)).after(after), count)
    return [datetime.fromtimestamp(slot // SECOND, find_zone(zone)).isoformat()[5:] for slot in found]


def test_a_time_that_does_not_exist_runs_at_the_first_instant_after_the_gap() -> None:
    start = "2026-03-28T12:00+00:00"
    assert local("30 2 * * *", "Europe/Paris", start, 2) == ["03-29T03:00:00+02:00", "03-30T02:30:00+02:00"]
    assert local("0 2 * * *", "Europe/Paris", start, 1) == ["03-29T03:00:00+02:00"]
    # Four times in one gap, and the one just after it, are one slot.
    assert local("*/15 2 * * *", "Europe/Paris", start, 2) == ["03-29T03:00:00+02:00", "03-30T02:00:00+02:00"]
    assert local("30 2,3 * * *", "Europe/Paris", start, 2) == ["03-29T03:00:00+02:00", "03-29T03:30:00+02:00"]
    # A whole day that a country left out.
    assert local("30 2 * * *", "Pacific/Apia", "2011-12-29T13:00+00:00", 2) == ["12-31T00:00:00+14:00", "12-31T02:30:00+14:00"]


def test_a_time_that_exists_twice_runs_the_first_time() -> None:
    assert local("30 2 * * *", "Europe/Paris", "2026-10-24T12:00+00:00", 2) == ["10-25T02:30:00+02:00", "10-26T02:30:00+01:00"]
    # Asked between the two, the time has been.
    assert local("30 2 * * *", "Europe/Paris", "2026-10-25T01:00+00:00", 1) == ["10-26T02:30:00+01:00"]
    assert local("*/30 2 * * *", "Europe/Paris", "2026-10-25T00:00+00:00", 2) == [
        "10-25T02:30:00+02:00",
        "10-26T02:00:00+01:00",
    ]


def test_steps_of_hours_are_wall_time_and_keep_their_number() -> None:
    assert local("0 */2 * * *", "Europe/Paris", "2026-03-29T00:00+00:00", 2) == ["03-29T03:00:00+02:00", "03-29T04:00:00+02:00"]
    assert local("0 */2 * * *", "Europe/Paris", "2026-10-24T23:00+00:00", 2) == ["10-25T02:00:00+02:00", "10-25T04:00:00+01:00"]


def test_every_hour_follows_elapsed_hours() -> None:
    spring = local("30 * * * *", "Europe/Paris", "2026-03-28T23:45+00:00", 3)
    assert spring == ["03-29T01:30:00+01:00", "03-29T03:30:00+02:00", "03-29T04:30:00+02:00"]
    autumn = local("30 * * * *", "Europe/Paris", "2026-10-24T23:45+00:00", 3)
    assert autumn == ["10-25T02:30:00+02:00", "10-25T02:30:00+01:00", "10-25T03:30:00+01:00"]


def test_every_hour_of_some_days_keeps_to_those_days() -> None:
    found = local("0 * * * sun", "America/New_York", "2026-03-07T12:00+00:00", 25)
    assert [each[:5] for each in found] == ["03-08"] * 23 + ["03-15"] * 2
    found = local("15 * 1 1 *", "Asia/Kathmandu", "2026-01-01T17:00+00:00", 2)
    assert found == ["01-01T23:15:00+05:45", "01-01T00:15:00+05:45"]


def test_remarks_say_what_the_clocks_did() -> None:
    daily = WallTime(read_cron("30 2 * * *"), find_zone("Europe/Paris"))
    march, october = (int(datetime(2026, month, 25, tzinfo=UTC).timestamp()) * SECOND for month in (3, 10))
    remarks = [daily.remark(slot) for slot in islice(daily.after(march), 5)]
    assert [bool(each) for each in remarks] == [False, False, False, False, True]
    assert "clocks went forward" in remarks[4]
    assert "the first of the two" in daily.remark(next(daily.after(october - DAY * SECOND // 2)))
    assert Interval(SECOND).remark(0) == ""
    hourly = WallTime(read_cron("@hourly"), find_zone("Europe/Paris"))
    assert not any(hourly.remark(slot) for slot in islice(hourly.after(march), 300))


@given(st.integers(0, 2**51), st.integers(SECOND, 40 * DAY * SECOND))
def test_an_interval_is_the_same_for_everybody(moment: int, period: int) -> None:
    found = list(islice(Interval(period).after(moment), 3))
    assert found[0] - moment <= period
    assert found[0] > moment
    assert all(slot % period == 0 for slot in found)
    assert found[2] - found[0] == 2 * period


def test_a_rule_says_how_it_would_be_written() -> None:
    assert [Interval(seconds * SECOND).text for seconds in (90, 300, 7200, 86_400, 90_000)] == [
        "every 90s",
        "every 5m",
        "every 2h",
        "every 1d",
        "every 25h",
    ]
    assert WallTime(read_cron("@daily"), find_zone("UTC")).text == "0 0 * * *"


@pytest.mark.parametrize("name", ["Europe/Pariss", "", "../etc/passwd", "/usr/share/zoneinfo/UTC", "Europe", "a\0b", 5, None])
def test_a_zone_that_is_none_is_refused(name: object) -> None:
    with pytest.raises(InvalidSchedule, match="there is no such time zone"):
        find_zone(name)  # type: ignore[arg-type]


def test_slots_end_with_the_calendar() -> None:
    late = int(datetime(9998, 11, 1, tzinfo=UTC).timestamp()) * SECOND
    assert list(WallTime(read_cron("0 0 * * *"), find_zone("UTC")).after(late + 80 * DAY * SECOND)) == []
    assert list(WallTime(read_cron("@hourly"), find_zone("UTC")).after(late + 60 * DAY * SECOND)) == []
    assert len(list(Interval(DAY * SECOND).after(late))) < 400
    assert list(WallTime(read_cron("* * 1 1 *"), find_zone("UTC")).after(late - 300 * DAY * SECOND)) == []


def test_dates_and_times_meet_in_one_place() -> None:
    wall = datetime.combine(date(2026, 1, 1), time(12))
    assert instant(wall, UTC) == int(datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp())
