"""One random trace on every engine at once: each answer and each state on the way must be the same on all of them.

`SEED=` repeats a run, `MODEL_EXAMPLES=` and `MODEL_STEPS=` make it longer, as for the model test, whose commands these are.
"""

import os

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from conformance.engines import ENGINES
from model.machine import Engines
from model.truths import SEED

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "3"))
STEPS = int(os.environ.get("MODEL_STEPS", "100"))


class AllEngines(Engines):
    """The commands of the model test, on every engine."""

    names = tuple(name for name in ENGINES if name != "sqlite3")


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
