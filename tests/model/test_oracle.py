"""A stateful random test: the same commands go to the memory engine and to another, and both must stay the same.

`SEED=` repeats a run, `MODEL_EXAMPLES=` and `MODEL_STEPS=` make it longer. `MODEL_SHRINK=1` looks for the shortest run that
fails, which takes minutes.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from conformance.engines import ENGINES
from model.machine import Engines
from model.truths import SEED

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "10"))
STEPS = int(os.environ.get("MODEL_STEPS", "80"))
PHASES = tuple(Phase) if os.environ.get("MODEL_SHRINK") else (Phase.generate,)


@pytest.mark.repeats
@pytest.mark.parametrize("name", [name for name in ENGINES if name != "memory"])
def test_the_engine_does_as_the_memory_engine_does(name: str) -> None:
    print(f"model test of {name}: SEED={SEED} MODEL_EXAMPLES={EXAMPLES} MODEL_STEPS={STEPS}")
    machine = type(f"Engines_{name}", (Engines,), {"names": ("memory", name)})
    run_state_machine_as_test(
        seed(SEED)(machine),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            database=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )
