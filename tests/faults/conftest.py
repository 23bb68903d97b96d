"""The site fixture."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.site import Site


@pytest.fixture(scope="session", autouse=True)
def _chaos_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The jobs' module opens its journal where it is imported, in this process too."""
    os.environ.setdefault("CHAOS_FOLDER", str(tmp_path_factory.mktemp("bodies")))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site, whose processes are gone when the test is."""
    made = Site(tmp_path)
    yield made
    made.close()
