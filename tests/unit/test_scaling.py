"""How many processes the load wants: growth, patience, hysteresis, and what is no reason to grow."""

import random

import pytest

from treadle.policy.scaling import FULL, GROW_AFTER, SHRINK_AFTER, SHRINK_AGAIN, Bounds, Kind, Memory, Sight, decide

BOUNDS = Bounds(1, 8)
SLOTS = 10


def sight(plain=0, gated=0, age=0.0, running=0, processes=1):
    return Sight((Kind(plain, gated, age, running, SLOTS * processes),), processes)


def follow(bounds, see, seconds, aim=1, memory=None, start=0.0):
    """Look each second for so many seconds; every change as (moment, aim), and the memory."""
    memory, changes = memory or Memory(), []
    for second in range(seconds):
        now = start + second
        wanted, memory = decide(bounds, aim, memory, see(now, aim), now)
        if wanted != aim:
            changes.append((now, wanted))
            aim = wanted
    return changes, memory


def test_it_grows_when_slots_stay_short_and_at_most_doubles():
    changes, _ = follow(BOUNDS, lambda _, aim: sight(plain=10_000, age=5, running=10 * aim, processes=aim), 20)
    assert changes == [(3, 2), (7, 4), (11, 8)]


def test_it_does_not_grow_beyond_what_the_work_wants():
    changes, _ = follow(BOUNDS, lambda _, aim: sight(plain=15, running=10 * aim, processes=aim), 5, aim=1)
    assert changes == [(3, 2)]
    changes, _ = follow(BOUNDS, lambda _, aim: sight(plain=5, running=10 * aim, processes=aim), 5, aim=4)
    assert changes == [(3, 5)]


def test_a_moment_of_shortage_is_no_reason():
    changes, _ = follow(BOUNDS, lambda now, aim: sight(plain=100 * (now % 3 == 0), age=5, running=9, processes=aim), 60)
    assert changes == []


def test_what_waits_with_free_slots_is_no_reason_while_it_is_young_or_gated():
    assert not sight(plain=500, age=1.0, running=3).short
    assert not sight(gated=500, age=0.0, running=3).short
    assert sight(plain=500, age=2.0, running=3).short
    assert sight(gated=500, running=8).short
    assert not sight(running=10).short


def test_parked_work_never_makes_it_grow():
    # At a limit of eight at once, all others are parked: what is seen is eight that run, and now and then one just freed.
    changes, _ = follow(BOUNDS, lambda now, aim: sight(gated=int(now) % 2, running=7, processes=aim), 600)
    assert changes == []


def test_it_shrinks_slowly_one_by_one_and_never_below_the_least():
    changes, _ = follow(BOUNDS, lambda _, aim: sight(running=0, processes=aim), 200, aim=4)
    assert changes == [(SHRINK_AFTER, 3), (SHRINK_AFTER + SHRINK_AGAIN, 2), (SHRINK_AFTER + 2 * SHRINK_AGAIN, 1)]


def test_it_does_not_shrink_where_one_less_would_be_nearly_full():
    changes, _ = follow(BOUNDS, lambda _, aim: sight(running=13, processes=aim), 300, aim=3)
    assert changes == []
    changes, _ = follow(BOUNDS, lambda _, aim: sight(running=12, processes=aim), 300, aim=3)
    assert changes == [(SHRINK_AFTER, 2)]


def test_a_wave_that_comes_back_keeps_its_processes():
    def see(now, aim):
        return sight(plain=50, age=3, running=SLOTS * aim, processes=aim) if now % 50 < 5 else sight(processes=aim)

    changes, _ = follow(BOUNDS, see, 300)
    assert [aim for _, aim in changes] == sorted(aim for _, aim in changes)


def test_nobody_alive_is_not_a_reason_to_start_a_crowd():
    assert decide(BOUNDS, 1, Memory(-100.0), Sight((Kind(500, 0, 60.0, 0, 0),), 0), 0.0) == (2, Memory())


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (sight(), 0),
        (sight(running=1), 1),
        (sight(running=11, processes=2), 2),
        (sight(plain=95, age=3, running=10), 11),
        (sight(plain=95, running=3), 1),
        (sight(plain=95, age=3, running=3), 10),
        (sight(plain=1, age=3, running=3, processes=4), 5),
        (sight(gated=5, running=3, processes=4), 4),
        (sight(running=13, processes=4), 3),
        (Sight((Kind(500, 0, 60.0, 0, 0),), 0), 1),
    ],
)
def test_the_figure_for_those_outside(seen, wanted):
    assert seen.wanted == wanted


def test_whatever_is_seen_the_bounds_hold_and_growth_waits():
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for _ in range(200):
        least = draw.randint(1, 5)
        bounds, aim, memory, short = Bounds(least, least + draw.randint(0, 10)), least, Memory(), 0.0
        for now in range(300):
            seen = sight(
                draw.choice([0, 0, 5, 900]), draw.choice([0, 5]), draw.random() * 4, draw.randint(0, 30), draw.randint(0, 9)
            )
            before = aim
            aim, memory = decide(bounds, aim, memory, seen, float(now))
            assert bounds.least <= aim <= bounds.most
            assert before - 1 <= aim <= 2 * before
            short = short + 1 if seen.short else 0.0
            assert aim <= before or short > GROW_AFTER
    assert 0 < FULL < 1


def test_slots_of_another_kind_are_of_no_use():
    loop, threads = Kind(running=0, slots=200), Kind(plain=64, age=3, running=16, slots=16)
    assert Sight((loop, threads), 2).wanted == 10
    assert Sight((loop, threads._replace(plain=0, gated=64)), 2).wanted == 10
    assert Sight((loop, threads._replace(plain=0)), 3).wanted == 3
    assert Sight((loop._replace(running=8), threads._replace(plain=0, running=0)), 2).wanted == 1


def test_the_supervisor_goes_where_the_figure_for_those_outside_points():
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    draw = random.Random(seed)
    turns = set()
    for _ in range(3000):
        aim = draw.randint(2, 9)
        kinds = tuple(
            Kind(draw.choice([0, 0, 3, 900]), draw.choice([0, 0, 5]), draw.random() * 4, draw.randint(0, slots), slots)
            for slots in (aim * draw.randint(0, 20), aim * 100)
        )
        seen = Sight(kinds, aim)
        decided, _ = decide(Bounds(1, 100), aim, Memory(0.0, 0.0), seen, SHRINK_AFTER)
        turns.add((decided > aim) - (decided < aim))
        assert (decided > aim) == (seen.wanted > aim)
        assert (decided < aim) == (seen.wanted < aim)
        assert min(aim, seen.wanted) <= decided <= max(aim, seen.wanted)
    assert turns == {-1, 0, 1}
