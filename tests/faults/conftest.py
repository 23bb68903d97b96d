"""The stores that are harmed, and the sites of workers on them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.site import Site
from servers.ground import GROUNDS, Ground
from treadle import Treadle


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


@pytest.fixture(scope="session", params=GROUNDS)
def _server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with GROUNDS[request.param](tmp_path_factory.mktemp(request.param)) as ground:
        yield ground


@pytest.fixture
def ground(_server: Ground) -> Iterator[Ground]:
    """A new database on a server that tests share and harm, one after the other; each leaves it running."""
    _server.begin_anew()
    yield _server
    _server.proxy.pass_()


@pytest.fixture
def app(ground: Ground) -> Iterator[Treadle]:
    """An app that reaches the ground through its proxy; its calls have two seconds."""
    app = Treadle(ground.url(timeout=2))
    yield app
    app.close()


@pytest.fixture
def far_site(ground: Ground, tmp_path: Path) -> Iterator[Site]:
    """A site whose workers reach their store through the proxy, each call within two seconds; the test looks past it."""
    made = Site(tmp_path, ground.url(timeout=2), ground.direct)
    yield made
    ground.proxy.pass_()
    made.close()
