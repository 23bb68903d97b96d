"""What holds for every test."""

import os
from collections.abc import Generator

import pytest
from coverage import Coverage
from hypothesis import settings

# A busy machine is slow, and an example that takes long there says nothing.
settings.register_profile("treadle", deadline=None, print_blob=True)
settings.load_profile("treadle")


FOR_CHILDREN = "COVERAGE_PROCESS_CONFIG"
"""By this name in their environment coverage watches the processes that a test starts."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let coverage look away from tests that only repeat lines: watching them cost a third of the time of the suite."""
    watching = Coverage.current()
    if watching is None or not repeats(item):
        return (yield)
    watching.stop()
    config = os.environ.pop(FOR_CHILDREN)
    try:
        return (yield)
    finally:
        os.environ[FOR_CHILDREN] = config
        watching.start()


def repeats(item: pytest.Item) -> bool:
    """Whether a test walks lines that another walks: it is marked so, or runs the plans of a blocking twin in another way."""
    if item.get_closest_marker("repeats"):
        return True
    return isinstance(item, pytest.Function) and hasattr(item, "callspec") and "arun" in item.callspec.id.split("-")
