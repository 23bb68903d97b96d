"""The app and its store: when it is opened, which one, by whom, and after a fork."""

import os
import sys
import threading
from pathlib import Path

import pytest

from faults.between import come_in, outcome
from treadle import InvalidOption, InvalidURL, NotPermitted, Treadle, VolatileStore
from treadle.app.connection import Connection
from treadle.engine import open as opening


def declare(app):
    def body(number: int = 0) -> int:
        return number

    return app.task(name="work")(body)


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("TREADLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_nothing_is_opened_before_the_first_use(tmp_path):
    app = Treadle()
    task = declare(app)
    task.call(1)
    assert list(tmp_path.iterdir()) == []
    task.enqueue(1)
    assert (tmp_path / "treadle.db").exists()
    assert app.store.location == str(tmp_path / "treadle.db")
    app.close()


def test_a_closed_app_opens_again_when_needed():
    app = Treadle()
    task = declare(app)
    first = task.enqueue(1)
    app.close()
    app.close()
    assert first.job().args == {"number": 1}
    app.close()


def test_the_constructor_wins_over_the_environment_and_that_over_the_default(monkeypatch):
    assert Treadle().url == "sqlite:///treadle.db"
    monkeypatch.setenv("TREADLE_URL", "sqlite:///env.db")
    monkeypatch.setenv("TREADLE_NAMESPACE", "shop")
    monkeypatch.setenv("TREADLE_PAYLOAD_CAP", "77")
    monkeypatch.setenv("TREADLE_RESULT_CAP", "78")
    app = Treadle()
    assert (app.url, app.connection.namespace) == ("sqlite:///env.db", "shop")
    settings = declare(app).settings
    assert (settings.payload_cap, settings.result_cap) == (77, 78)
    app = Treadle("sqlite:///own.db", namespace="own", payload_cap=9)
    assert (app.url, app.connection.namespace, declare(app).settings.payload_cap) == ("sqlite:///own.db", "own", 9)


def test_volatile_stores_must_be_wanted(monkeypatch):
    with pytest.raises(VolatileStore):
        _ = Treadle("memory://").store
    monkeypatch.setenv("TREADLE_ALLOW_VOLATILE", "yes")
    assert Treadle("memory://").store.durability.startswith("D0")
    with pytest.raises(VolatileStore):
        _ = Treadle("memory://", allow_volatile=False).store
    monkeypatch.setenv("TREADLE_ALLOW_VOLATILE", "perhaps")
    with pytest.raises(InvalidOption, match="perhaps"):
        Treadle("memory://")


@pytest.mark.parametrize("words", [{"payload_cap": 0}, {"payload_cap": "much"}, {"result_cap": -1}])
def test_a_cap_is_a_number_of_bytes(words):
    with pytest.raises(InvalidOption, match="number of bytes"):
        Treadle(**words)


@pytest.mark.parametrize(("words", "said"), [({"retry": 3}, "^3: .*retry rule"), ({"retention": 3600}, "^3600: .*Retention")])
def test_an_app_refuses_a_rule_that_is_none(words, said):
    with pytest.raises(InvalidOption, match=said):
        Treadle(**words)


def test_a_wrong_url_is_found_at_the_first_use():
    app = Treadle("mysql://nowhere")
    with pytest.raises(InvalidURL, match="mysql"):
        declare(app).enqueue(1)


def test_an_app_may_be_pointed_elsewhere_before_it_is_open(tmp_path):
    app = Treadle()
    app.connection.point_at("sqlite:///flag.db")
    task = declare(app)
    task.enqueue(1)
    assert app.store.location == str(tmp_path / "flag.db")
    app.connection.point_at("sqlite:///flag.db")
    with pytest.raises(NotPermitted, match="already open"):
        app.connection.point_at("sqlite:///other.db")
    with pytest.raises(NotPermitted, match=r"//ada:\*\*\*@h/shop"):
        app.connection.point_at("postgresql://ada:secret@h/shop")
    app.close()
    app.connection.point_at("sqlite:///other.db")
    task.enqueue(1)
    assert (tmp_path / "other.db").exists()
    app.close()


def test_threads_share_one_store():
    asked = []

    def url():
        asked.append(threading.get_ident())
        return "memory://"

    connection = Connection(url, namespace="treadle", allow_volatile=True)
    start = threading.Barrier(8)
    found = []

    def use():
        start.wait(30)
        found.append(connection.store)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert len(asked) == 1
    assert len({id(each) for each in found}) == 1


def in_child(work):
    """What `work` returns in a forked child, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(work()).encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


def test_a_forked_child_enqueues_into_the_same_file():
    app = Treadle()
    task = declare(app)
    task.enqueue(1)
    child = in_child(lambda: task.enqueue(2).id)
    assert app.client.get(child).args == {"number": 2}
    task.enqueue(3)
    assert [each.count for each in app.client.count()] == [3]
    app.close()


def test_a_child_forked_while_another_thread_opens_the_store_is_not_stuck():
    app = Treadle()
    task = declare(app)
    entered, leave = threading.Event(), threading.Event()
    find = app.connection._find_url

    def slow():
        if threading.current_thread() is not threading.main_thread():
            entered.set()
            leave.wait(30)
        return find()

    app.connection._find_url = slow
    opener = threading.Thread(target=lambda: task.enqueue(1))
    opener.start()
    assert entered.wait(30)
    child = in_child(lambda: task.enqueue(2).id)
    leave.set()
    opener.join(30)
    assert app.client.get(child).args == {"number": 2}
    app.close()


def test_importing_the_package_opens_nothing_and_loads_next_to_nothing():
    import subprocess

    code = (
        "import sys, treadle, treadle.testing.plugin;"
        "print([each for each in sys.modules if each.startswith(('treadle', 'apsw', 'msgspec'))])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "['treadle', 'treadle.testing', 'treadle.testing.plugin']"
    assert list(Path.cwd().iterdir()) == []


def test_every_public_name_has_its_home():
    import treadle

    for name in treadle.__all__:
        assert getattr(treadle, name) is not None
    assert set(treadle.__all__) == {name for names in treadle._HOMES.values() for name in names}
    assert set(treadle.__all__) <= set(dir(treadle))
    with pytest.raises(AttributeError, match="Nonesuch"):
        _ = treadle.Nonesuch


def test_an_enqueue_that_comes_in_while_its_thread_opens_the_store_uses_the_same_store(monkeypatch):
    """A signal's handler and a finalizer come in anywhere: the first enqueue waited for itself for ever."""
    app = Treadle("memory://here", allow_volatile=True)
    task = declare(app)
    inner = []
    come_in(monkeypatch, opening, "open_store", lambda: inner.append(task.enqueue(1)))
    outer = outcome(lambda: task.enqueue(2))
    assert inner[0].job().args == {"number": 1}
    assert outer.job().args == {"number": 2}
    app.close()
