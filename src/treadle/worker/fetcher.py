"""What to claim next: how many, from which queues, for which executor."""

import logging
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import NamedTuple

from treadle.app.registry import Registry
from treadle.app.upgrading import too_new
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan
from treadle.model.errors import InvalidArguments
from treadle.model.job import Claimed, Claims, JobId, LeaseId, Want
from treadle.model.outcome import Cause, Died, Released
from treadle.policy import fairness
from treadle.worker.executors.port import Executor
from treadle.worker.inflight import Inflight
from treadle.worker.run import Run

log: logging.Logger = logging.getLogger("treadle.worker")

MOST = 1000
"""Jobs in one claim. Half as many took a fifth longer per job (46,000 against 56,000 jobs/s on SQLite in one run); twice as
many were no faster, and hold the store longer."""


REST, LONGEST_REST = 20, 5.0
"""How many times longer than its exchange took, and how many seconds at most, polls pass over an executor that found nothing
in it while another is in full flow: its claim walked over all that waits for the other. With 50,000 such jobs each look took
35 ms, twice a second.
"""

MOST_GATED = 1000
"""Gated jobs in one claim: as many as the store judges at once."""

HALVED = 200
"""Gated jobs that can be in hand at once, from which on they are claimed by halves where they are claimed in turns: while one
half runs and is told of, the other is claimed. Fewer are told of and claimed in one exchange: half of them would cost as much.
"""

IN_TURN = 5.0
"""Seconds for which gated jobs are claimed only when what was claimed before has been told of, once a claim had to pass over
most of those it looked at: the ends of what it had in hand were what they waited for. Each look ahead parked up to 500 of them,
and each of those came back by itself: in order by 1,000 keys, 6,000 jobs/s instead of 14,000 on Valkey.
"""

TRY_MORE, TRY_MORE_MOST = 0.1, 2.0
"""Seconds after which more gated jobs than seem to fit are tried in hand once more, an eighth at a time: at first, and when
that has failed again and again. The first look may have met a crowd: where there are 1,000 keys, 700 or 800 seemed to fit, and
an exchange for fewer costs nearly as much.
"""

STUCK = 0.25
"""Seconds after which what was claimed ahead is handed back if it has not begun: a dozen times what was foretold."""

NEWER_DELAY = 10.0
"""Seconds for which a job is put off that was enqueued for a newer version of its task."""


class Ask(NamedTuple):
    """One claim: for which executors, what it asks of each queue, how many suspects and gated jobs it may bring, and how many
    gated ones the worker held when it was made, as far as the store knew."""

    places: list[str]
    takes: list[int]
    suspects: int
    gated: int
    held: int
    plan: Plan[Claims]


class Fetcher:
    """Turns free room into claims, and claims into runs.

    The first claim after a wake of an idle worker is one for all executors, no larger than the smallest room among them: most
    wakes are for a job or two. While there is more, each executor makes a claim of its own, limited to the tasks that run
    there, so that a full thread pool never fills the worker's hands with jobs that only threads can run. Hunger is kept for
    each executor too. A claim whose tasks are not at the head of the queue walks over those that are, so an executor that
    found nothing waits for a wake or the next poll, and longer where the walk was long, instead of walking again with every
    exchange of a busy one (50,000 async jobs waiting: 26 ms an exchange instead of 5).

    A gated job starts with its claim, so no more of them are taken than will start as good as at once. Where one is next and
    none would, the executor waits for a slot of its own: nobody announces what has been in the queue all along. Where what
    is in hand here is what they wait for, by their order or their slots, they are claimed when what was claimed first has
    ended and been told, while the rest runs.
    """

    def __init__(
        self,
        engine: Engine,
        lease: LeaseId,
        registry: Registry,
        queues: Sequence[tuple[str, int]],
        strict: bool,
        executors: Mapping[str, Executor],
        inflight: Inflight,
    ) -> None:
        self.draining = False
        self._engine = engine
        self._lease = lease
        self._registry = registry
        self._queues = [queue for queue, _ in queues]
        self._weights = [weight for _, weight in queues]
        self._given = dict(queues)
        self._strict = strict
        self._executors = executors
        self._inflight = inflight
        self._credit = [0.0] * len(queues)
        self._turn = 0
        self._woken = False
        self._took_suspect = False
        self._newer: set[tuple[str, int]] = set()
        self._hungry: set[str] = set()
        self._rests: dict[str, float] = {}
        self._fresh = ""
        self._wants_slot: set[str] = set()
        self._crowded: list[str] = []
        self._in_turn_until = 0.0
        self._unstarted: dict[JobId, float] = {}
        self._most_in_turn = 0
        self._try_more_at = 0.0
        self._try_more_after = TRY_MORE
        self._names: dict[str, list[str]] = {place: [] for place in executors}
        for name in registry.names():
            task = registry.get(name)
            assert task is not None
            self._names[task.settings.executor].append(name)
            if task.settings.gated:
                inflight.paces.expect(task.settings.name)
        self._rank()
        self.wake()

    def wake(self, *, polled: bool = False) -> None:
        """There may be work for every executor, and there is, as far as anybody knows, unless this is but a poll."""
        flows, now = bool(self._hungry), monotonic()
        self._woken = self._woken or not flows
        for place in self._executors:
            rests = polled and flows and now < self._rests.get(place, 0.0)
            if self._names[place] and place not in self._hungry and not rests:
                self._hungry.add(place)
                self._fresh = place

    def reweigh(self, said: Mapping[str, int]) -> None:
        """From now on, share by these weights, and where they say nothing by those the worker was started with."""
        weights = [said.get(queue, self._given[queue]) for queue in self._queues]
        if weights != self._weights:
            log.info("queues are shared anew: %s", ", ".join(f"{q}:{w}" for q, w in zip(self._queues, weights, strict=True)))
            self._weights, self._credit = weights, [0.0] * len(weights)
            self._rank()

    def _rank(self) -> None:
        """Where queues are served strictly, the heaviest comes first; of equals the one that was named first."""
        if self._strict:
            order = sorted(range(len(self._queues)), key=lambda index: -self._weights[index])
            self._queues = [self._queues[index] for index in order]
            self._weights = [self._weights[index] for index in order]

    @property
    def hungry(self) -> bool:
        """Whether some executor has not yet seen its queues empty."""
        return bool(self._hungry)

    @property
    def in_turn(self) -> bool:
        """Whether what has ended here is to be told before more is claimed, or with it."""
        return monotonic() < self._in_turn_until

    @property
    def halves(self) -> bool:
        """Whether it is half of what can be in hand at once that is told of or claimed: of many, and brief ones."""
        brief = self._inflight.paces.brief
        return self.in_turn and self._most_in_turn >= HALVED and all(map(brief, self._names.values()))

    def due(self, untold: int) -> bool:
        """Whether enough has been told of for the next half to be claimed, when the store does not know of `untold` ends."""
        held = self._inflight.gated + untold
        return not held or held + self._half <= self._most_in_turn

    @property
    def _half(self) -> int:
        return min(self._most_in_turn, MOST_GATED) // 2

    def awaited(self, ended: int) -> int:
        """How many runs in hand gated jobs wait for, when so many have ended: their slots here, or what those runs hold."""
        if self._hungry and self.in_turn:
            held = self._inflight.gated
            return max(0, min(held, self._half - ended)) if self.halves else held
        crowded = [(self._executors[place], self._soon(place)) for place in self._crowded]
        return sum(each.slots - each.free() for each, soon in crowded if soon == each.free())

    def asks(self, untold: int = 0, *, suspects: bool = True) -> list[Ask]:
        """The claims worth making now; none when draining, full, or not hungry. Of `untold` ends the store does not know, and
        unless `suspects` another claim may bring one."""
        if self._took_suspect and self._inflight.suspects_wanted:
            # The suspect held here has ended and others may wait: nobody announces them, and a poll each would be slow.
            self._took_suspect = False
            self.wake()
        ready = {place for place in self._wants_slot if self._soon(place) > 0}
        self._wants_slot -= ready
        self._hungry |= ready
        if self.draining or not self._hungry:
            return []
        room = {place: min(MOST, self._executors[place].room()) for place in self._hungry}
        places = [place for place in room if room[place] > 0]
        if not places:
            return []
        woken, self._woken = self._woken, False
        if woken or len(places) == 1:
            return [self._ask(places, min(room[place] for place in places), untold, mark=suspects)]
        # One suspect at a time per worker, so one claim at a time may take one: who looks anew, else the executors in turns.
        self._turn += 1
        fresh, self._fresh = self._fresh, ""
        chosen = fresh if fresh in places else places[self._turn % len(places)]
        return [self._ask([place], room[place], untold, mark=suspects and place == chosen) for place in places]

    def _ask(self, places: list[str], room: int, untold: int, *, mark: bool) -> Ask:
        """A claim for these executors; `mark` when it may bring a suspect, which must start at once wherever it runs."""
        most = self._half if self.halves else MOST_GATED // 2 if self.in_turn else MOST_GATED
        gated = min(most, *map(self._soon, places))
        slots = min(self._executors[place].free() for place in places)
        suspects = self._inflight.suspects_wanted if mark and slots else 0
        takes = self._split(room)
        wants = [Want(queue, take, room) for queue, take in zip(self._queues, takes, strict=True)]
        names = self._names[places[0]] if len(places) == 1 else [name for place in places for name in self._names[place]]
        plan = self._engine.claim(self._lease, wants, names, suspects=suspects, gated=gated)
        return Ask(places, takes, suspects, gated, self._inflight.gated + untold, plan)

    def _soon(self, place: str) -> int:
        """How many gated jobs would start as good as at once."""
        executor = self._executors[place]
        return executor.soon() if self._inflight.paces.brief(self._names[place]) else executor.free()

    def sated(self, ask: Ask, took: float) -> None:
        """What this claim asked for is not there now; `took` is how many seconds its exchange has taken."""
        self._hungry.difference_update(ask.places)
        self._rests |= dict.fromkeys(ask.places, monotonic() + min(LONGEST_REST, took * REST))

    def take(self, ask: Ask, claims: Claims) -> bool:
        """Hand claimed jobs to their executor; True when the claim was filled, so that more may be waiting."""
        jobs = claims.jobs
        more = self._more_gated(ask, claims)
        if not jobs:
            if not self._strict:
                self._credit = fairness.charge(self._weights, self._credit, ask.takes, [0] * len(ask.takes))
            return more
        if len(self._queues) > 1 and not self._strict:
            jobs = self._shared(ask, jobs)
        holds, known = self._inflight.holds, self._inflight.runs
        runs: list[Run] = []
        at_once = ask.suspects > 0
        for claimed in jobs:
            if claimed.id in known and holds(claimed):
                # A replica that lagged was promoted: it never heard of our claim, and hands out the same fence again.
                log.warning("job %s attempt %d was claimed again by a store that had forgotten it", claimed.id, claimed.attempt)
                continue
            run = self._taken(claimed)
            if run is None:
                continue
            runs.append(run)
            at_once = at_once or run.settings.gated
        if ask.suspects:
            self._took_suspect = self._took_suspect or any(each.suspect for each in jobs)
        if at_once:
            runs.sort(key=_waits_well)
        for place in ask.places:
            mine = runs if len(ask.places) == 1 else [run for run in runs if run.settings.executor == place]
            if mine:
                self._executors[place].submit(mine)
        return more or len(jobs) >= sum(ask.takes)

    def _taken(self, claimed: Claimed) -> Run | None:
        """A claimed job in hand, to be started; None where that is not to be."""
        task = self._registry.get(claimed.task)
        assert task is not None, "claims name only tasks of this registry"
        try:
            run = Run(claimed, task, task.settings_for(claimed.options))
        except InvalidArguments as error:
            # Options that do not decode today will not decode tomorrow: a dead letter, not a stuck worker.
            run = Run(claimed, task, task.settings)
            self._inflight.take(run)
            self._inflight.ended(run, Died(Cause.INVALID, str(error)))
            return None
        self._inflight.take(run)
        if self.draining:
            self._inflight.ended(run, Released())  # it was claimed while the rest was being handed back
            return None
        if claimed.version > task.settings.version:
            self._put_off(run)
            return None
        return run

    def _more_gated(self, ask: Ask, claims: Claims) -> bool:
        """Whether a gated job is next that was not taken, and it pays to ask again at once, each executor for itself."""
        self._crowded = ask.places if claims.more else []
        if not claims.more:
            return False
        now, found = monotonic(), ask.held + len(claims.jobs)
        if 2 * len(claims.jobs) < ask.gated:
            self._in_turn_until = now + IN_TURN
            self._most_in_turn, self._try_more_at = found, now
        elif now >= self._try_more_at and len(claims.jobs) < ask.gated:
            self._most_in_turn, self._try_more_at = found, now + self._try_more_after
            self._try_more_after = min(TRY_MORE_MOST, 2 * self._try_more_after)
        elif now >= self._try_more_at and found >= 2 * self._half:
            self._most_in_turn = max(self._most_in_turn, min(MOST_GATED, found + found // 8))
        if ask.gated == 0 and len(ask.places) == 1:
            self._wants_slot.update(ask.places)
            return False
        return True

    def give_back(self) -> None:
        """Called now and then: hand back the gated jobs that have stood here unstarted for a while.

        Their tasks were brief and are not, or slow ones came before them. They hold what others could use.
        """
        now, before = monotonic(), self._unstarted
        waiting = [run for run in self._inflight.runs.values() if run.started is None and _ahead(run)]
        self._unstarted = {run.claimed.id: before.get(run.claimed.id, now) for run in waiting}
        stuck = {job for job, since in self._unstarted.items() if now - since >= STUCK}
        if not stuck or self.draining:
            return
        for place in {run.settings.executor for run in waiting}:
            executor, rest = self._executors[place], list[Run]()
            for run in executor.hand_back():
                if run.claimed.id in stuck:
                    self._inflight.paces.took(run.task.settings.name, STUCK)
                    self._inflight.ended(run, Released())
                else:
                    rest.append(run)
            if rest:
                executor.submit(rest)

    def _put_off(self, run: Run) -> None:
        """A job of a newer version than this code, as a deploy brings them: workers of the newer code will have it."""
        claimed, mine = run.claimed, run.task.settings.version
        if (claimed.task, claimed.version) not in self._newer:
            self._newer.add((claimed.task, claimed.version))
            log.warning(
                "jobs of task %s were enqueued for version %d, and this worker has %d: they are put off, %g s at a time",
                claimed.task,
                claimed.version,
                mine,
                NEWER_DELAY,
            )
        self._inflight.ended(run, Released(NEWER_DELAY, too_new(claimed.task, claimed.version, mine)))

    def _shared(self, ask: Ask, jobs: list[Claimed]) -> list[Claimed]:
        """Charge each queue for what it was given, and mix the queues as their weights say, each in its own order."""
        counted = dict.fromkeys(self._queues, 0)
        weight = dict(zip(self._queues, self._weights, strict=True))
        places: list[float] = []
        for claimed in jobs:
            counted[claimed.queue] += 1
            places.append(counted[claimed.queue] / weight[claimed.queue])
        self._credit = fairness.charge(self._weights, self._credit, ask.takes, list(counted.values()))
        return [jobs[index] for index in sorted(range(len(jobs)), key=places.__getitem__)]

    def _split(self, room: int) -> list[int]:
        if len(self._queues) == 1:
            return [room]
        if self._strict:
            return [room] + [0] * (len(self._queues) - 1)
        return fairness.ask(self._weights, self._credit, room)


def _waits_well(run: Run) -> bool:
    """False for what must start at once: a suspect, and a job whose claim was counted as its start."""
    return not (run.claimed.suspect or run.settings.gated)


def _ahead(run: Run) -> bool:
    """Whether a job's claim was counted as its start and may have gone ahead of it: none do that are for a child process."""
    return run.settings.gated and run.settings.executor != "process"
