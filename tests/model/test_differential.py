"""One random trace on every engine at once: each answer and each state on the way must be the same on all of them.

`SEED=` repeats a run, `MODEL_EXAMPLES=` and `MODEL_STEPS=` make it longer, as for the model test, whose commands these are.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from conformance.desk import Bench
from conformance.engines import ENGINES
from model.double import Double, Held, Seen
from model.test_oracle import SEED, Engines
from treadle.engine.contract import Engine
from treadle.engine.plan import Plan
from treadle.engine.session import Session
from treadle.model.job import Claimed, LeaseId
from treadle.model.outcome import Note, NoteKind, Outcome, Settlement

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "3"))
STEPS = int(os.environ.get("MODEL_STEPS", "100"))


class Copies(tuple[Claimed, ...]):
    """One claimed attempt as each of several stores handed it out."""

    __slots__ = ()

    def _replace(self, **changes: Any) -> "Copies":
        return Copies(each._replace(**changes) for each in self)


class Voice(NamedTuple):
    """One store of the chorus."""

    name: str
    engine: Engine
    session: Session


class Chorus(Double):
    """Runs every plan on all stores, and compares each answer with that of the first."""

    def __init__(self, benches: dict[str, Bench]) -> None:
        self._voices = [Voice(name, bench.store.engine, bench.store.session()) for name, bench in benches.items()]

    def close(self) -> None:
        for voice in self._voices:
            voice.session.close()

    def ask(self, make: Callable[[Engine], Plan[Any]], shape: Callable[[Any], Any] = lambda answer: answer) -> Any:
        return self._same([shape(voice.session.run(make(voice.engine))) for voice in self._voices])

    def claim(self, lease: LeaseId, make: Callable[[Engine], Plan[Any]]) -> list[Held]:
        answers = [voice.session.run(make(voice.engine)) for voice in self._voices]
        self._same([(claims.lost, [job._replace(ref=0) for job in claims.jobs]) for claims in answers])
        jobs = zip(*(claims.jobs for claims in answers), strict=True)
        return [Held(first, Copies(others), lease) for first, *others in jobs]  # type: ignore[arg-type]

    def settle(self, lease: LeaseId, ends: Sequence[tuple[Held, Outcome]], now: int) -> Any:
        def settlements(side: int) -> list[Settlement]:
            shown = [(self._of(held, side), outcome) for held, outcome in ends]
            return [Settlement(claimed.ref, claimed.id, claimed.attempt, outcome, 0.5) for claimed, outcome in shown]

        return self._each(lambda engine, side: engine.settle(lease, settlements(side), now=now))

    def note(self, lease: LeaseId, held: Held, kind: NoteKind, name: str, value: str, now: int) -> Any:
        def notes(side: int) -> list[Note]:
            claimed = self._of(held, side)
            return [Note(claimed.ref, claimed.id, claimed.attempt, kind, name, value)]

        return self._each(lambda engine, side: engine.note(lease, notes(side), now=now))

    def look(self, now: int) -> Seen:
        return self._same([self._seen(voice.engine, voice.session, now) for voice in self._voices])

    @staticmethod
    def _of(held: Held, side: int) -> Claimed:
        copies: Any = held.subject
        return held.oracle if side == 0 else copies[side - 1]

    def _each(self, make: Callable[[Engine, int], Plan[Any]]) -> Any:
        return self._same([voice.session.run(make(voice.engine, side)) for side, voice in enumerate(self._voices)])

    def _same(self, answers: Sequence[Any]) -> Any:
        """The answer that all gave."""
        for voice, answer in zip(self._voices, answers, strict=True):
            assert answer == answers[0], f"{voice.name} differs from {self._voices[0].name}"
        return answers[0]


class AllEngines(Engines):
    """The commands of the model test, on every engine."""

    def open_stores(self, folder: Path) -> Double:
        return Chorus({name: self.stack.enter_context(make(folder)) for name, make in ENGINES.items() if name != "sqlite3"})


@pytest.mark.repeats
def test_one_trace_ends_the_same_on_every_engine() -> None:
    print(f"differential test: SEED={SEED} MODEL_EXAMPLES={EXAMPLES} MODEL_STEPS={STEPS}")
    run_state_machine_as_test(
        seed(SEED)(AllEngines),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
