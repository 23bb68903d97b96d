"""From `module:app` to the app, and what is said when there is none."""

import sys

import pytest

from treadle import BadInput, DefinitionError, Treadle
from treadle.app.loader import load


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


ONE = "from treadle import Treadle\napp = Treadle()\n"


def test_the_only_app_of_a_module_is_meant(project):
    project("shop_one.py", ONE + "again = app\n@app.task\ndef f() -> None: ...\n")
    app = load("shop_one")
    assert isinstance(app, Treadle)
    assert app.registry.names() == ("shop_one.f",)
    assert load("shop_one:app") is app


def test_a_module_in_a_package_and_an_app_inside_an_object(project):
    project("shop_pkg/__init__.py", "")
    project("shop_pkg/tasks.py", ONE + "class Holder:\n    queue = Treadle()\n")
    assert load("shop_pkg.tasks:app") is sys.modules["shop_pkg.tasks"].app
    assert load("shop_pkg.tasks:Holder.queue") is sys.modules["shop_pkg.tasks"].Holder.queue


def test_the_working_directory_comes_first(project, tmp_path):
    project("colorsys.py", ONE)
    sys.modules.pop("colorsys", None)
    assert isinstance(load("colorsys"), Treadle)
    assert sys.path[0] == str(tmp_path)


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("", "shop_bad", "holds no Treadle app"),
        ("from treadle import Treadle\na = Treadle()\nb = Treadle()\n", "shop_bad", "several apps: a, b"),
        (ONE, "shop_bad:other", "It holds: app"),
        (ONE + "x = 3\n", "shop_bad:x", "is a int, not a Treadle app"),
        ("x = 3\n", "shop_bad:x.y", "no Treadle app at all"),
        (ONE, "shop_absent", "no module 'shop_absent'"),
        (ONE, "shop_bad.py", "Write shop_bad"),
        (ONE, "shop_bad.py:app", "Write shop_bad:app"),
        (ONE, "shop_bad.deeper", "no module 'shop_bad.deeper'"),
        (ONE, "shop_bad.py", "no module"),
        (ONE, "./shop_bad", "not the name of a module"),
        (ONE, "", "not the name of a module"),
        (ONE, ":app", "not the name of a module"),
    ],
)
def test_a_target_without_an_app_is_refused_with_the_cure(project, source, target, says):
    project("shop_bad.py", source)
    with pytest.raises(BadInput) as caught:
        load(target)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("source", "last"),
    [
        ("def broken():\n    return 1 / 0\nbroken()\n", "ZeroDivisionError: division by zero"),
        ("import shop_missing_dependency\n", "No module named 'shop_missing_dependency'"),
        ("def f(:\n", "SyntaxError"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("from treadle import Treadle\napp = Treadle()\n@app.task(queue='a b')\ndef f(): ...\n", "queue name"),
    ],
)
def test_a_module_that_does_not_import_shows_its_own_traceback(project, source, last):
    project("shop_broken.py", source)
    with pytest.raises(DefinitionError) as caught:
        load("shop_broken")
    text = str(caught.value)
    assert last in text
    assert "shop_broken.py" in text
    assert "loader.py" not in text
    assert "importlib" not in text


def test_types_that_cannot_travel_are_found_before_a_worker_starts(project):
    project("shop_types.py", ONE + "class Opaque: ...\n@app.task\ndef f(x: Opaque) -> None: ...\n")
    with pytest.raises(DefinitionError, match="Opaque"):
        load("shop_types")


def test_a_schedule_whose_arguments_do_not_fit_is_refused_before_it_is_served(project):
    project(
        "shop_timed.py",
        ONE + "@app.schedule('@daily', name='nightly', args={'day': 'one'})\n@app.task\ndef f(day: int) -> None: ...\n",
    )
    with pytest.raises(BadInput, match=r"f\(day='one'\): expected `int`"):
        load("shop_timed")
