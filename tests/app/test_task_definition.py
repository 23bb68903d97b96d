"""What can be a task, under which name, with which settings; and what is refused where it is written."""

import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any, NoReturn, TypedDict

import pytest

from app import declarations
from treadle import (
    NO_RETRY,
    BadInput,
    Context,
    DefinitionError,
    Durability,
    Redacted,
    Retries,
    Secret,
    Tasks,
    Treadle,
    UnknownTask,
)
from treadle.app.task import CoroutineTask, FunctionTask


@pytest.fixture
def app():
    return Treadle()


@dataclass
class Card:
    number: str
    code: Secret[str]


@dataclass
class Person:
    name: str
    born: Redacted[str]
    friends: "list[Person]"


class Payment(TypedDict):
    card: Card


class Opaque:
    pass


def test_a_task_is_still_its_function(app):
    task = app.task(declarations.plain)
    assert task(3) == 3
    assert task.name == "app.declarations.plain"
    assert task.__name__ == "plain"
    assert task.__module__ == "app.declarations"
    assert isinstance(task, FunctionTask)
    assert not task.is_async
    assert task.settings.executor == "thread"


def test_an_async_task_gives_its_coroutine(app):
    task = app.task(declarations.awaited)
    coroutine = task(3)
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value == 3
    assert isinstance(task, CoroutineTask)
    assert task.settings.executor == "loop"


def test_a_context_is_known_by_its_annotation_even_when_imported_for_the_checker_only(app):
    task = app.task(declarations.with_context)
    assert task.wants_context
    assert task.prepare('{"number":4}') == ((4,), {})


def test_a_type_declared_further_down_is_resolved_at_first_use(app):
    task = app.task(declarations.takes_later)
    assert task.prepare('{"order":{"number":7}}')[0] == (declarations.Later(7),)
    assert app.task(declarations.hides_later).settings.redacted == ("token",)


def test_a_function_without_a_place_needs_a_name(app):
    def inner() -> None: ...

    with pytest.raises(DefinitionError, match="name="):
        app.task(inner)
    with pytest.raises(DefinitionError, match="name="):
        app.task(lambda: None)
    assert app.task(name="inner")(inner).name == "inner"


def test_main_is_called_by_its_file(app, monkeypatch):
    def fn() -> None: ...

    fn.__module__, fn.__qualname__ = "__main__", "fn"
    main = ModuleType("__main__")
    main.__file__ = "/srv/shop/tasks.py"
    main.__spec__ = None
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert app.task(fn).name == "tasks.fn"
    main.__spec__ = SimpleNamespace(name="shop.worker.__main__")
    assert app.task(fn).name == "shop.worker.fn"
    main.__spec__ = None
    del main.__file__
    with pytest.raises(DefinitionError, match="interactive"):
        app.task(fn)


@pytest.mark.parametrize("name", ["", "two words", "x" * 201, "tab\t", "bell\x07"])
def test_a_name_is_one_visible_word(app, name):
    with pytest.raises(DefinitionError, match="not a task name"):
        app.task(name=name)(declarations.plain)


def generator():
    yield 1


async def async_generator():
    yield 1


@pytest.mark.parametrize("fn", [generator, async_generator, print, Opaque, 3, staticmethod(declarations.plain)])
def test_what_is_not_a_plain_function_is_refused(app, fn):
    with pytest.raises(DefinitionError):
        app.task(name="x")(fn)


def late_context(number: int, ctx: Context) -> None: ...


def secret_argument(token: Secret[str]) -> None: ...


def secret_inside(payments: list[Payment]) -> None: ...


def opaque_argument(thing: Opaque) -> None: ...


def opaque_inside(things: dict[str, list[Opaque]]) -> None: ...


def opaque_result() -> Opaque:
    return Opaque()


@pytest.mark.parametrize(
    ("fn", "cure"),
    [(late_context, "front"), (secret_argument, "look the secret up"), (secret_inside, "look the secret up")],
)
def test_a_signature_that_cannot_work_is_refused_where_it_is_written(app, fn, cure):
    with pytest.raises(DefinitionError, match=cure):
        app.task(fn)


def two_arrays(values: list[int] | set[int]) -> None: ...


def never() -> NoReturn:
    raise SystemExit


@pytest.mark.parametrize("fn", [opaque_argument, opaque_inside, opaque_result])
def test_a_type_that_cannot_travel_is_found_by_the_check_before_a_worker_starts(app, fn):
    task = app.task(fn)
    with pytest.raises(DefinitionError, match="Opaque"):
        task.check()


def test_a_union_that_json_cannot_tell_apart_is_found_by_the_same_check(app):
    with pytest.raises(DefinitionError, match="cannot travel as JSON"):
        app.task(two_arrays).check()


def test_a_body_that_never_returns_is_a_task(app):
    app.task(never).check()


def test_a_type_that_never_comes_to_exist_is_found_by_the_same_check(app):
    def body(thing: "Nowhere") -> None: ...  # noqa: F821

    with pytest.raises(DefinitionError, match="Nowhere"):
        app.task(name="x")(body).check()


def test_a_decorated_function_keeps_the_signature_it_was_written_with(app):
    def logged(fn):
        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            return fn(*args, **kwargs)

        return wrapper

    task = app.task(logged(declarations.takes_later))
    assert task.name == "app.declarations.takes_later"
    assert task.prepare('{"order":{"number":7}}')[0] == (declarations.Later(7),)
    assert app.task(logged(declarations.with_context)).wants_context


def redacted(user: str, token: Redacted[str], person: Person, note: Annotated[str, "x"] = "") -> None: ...


def test_redacted_parameters_are_known_also_inside_a_dataclass(app):
    assert app.task(redacted).settings.redacted == ("token", "person")


@pytest.mark.parametrize(
    ("fn", "words", "cure"),
    [
        (declarations.awaited, {"executor": "process"}, "Write a def"),
        (declarations.awaited, {"executor": "thread"}, "Write a def"),
        (declarations.plain, {"executor": "loop"}, "async def"),
        (declarations.plain, {"executor": "fiber"}, "no executor"),
        (declarations.plain, {"hard_timeout": "1m"}, 'executor="process"'),
        (declarations.awaited, {"hard_timeout": "1m"}, 'executor="process"'),
        (declarations.plain, {"executor": "process", "hard_timeout": "1m", "timeout": "1m"}, "one of them"),
        (declarations.plain, {"at_most_once": True, "retry": Retries()}, "no second start"),
        (declarations.plain, {"at_most_once": True, "max_crashes": 2}, "no second start"),
        (declarations.plain, {"timeout": "soon"}, "duration"),
        (declarations.plain, {"timeout": 0}, "0: a timeout of nothing"),
        (declarations.plain, {"executor": "process", "hard_timeout": "0s"}, "'0s': a timeout of nothing"),
        (declarations.plain, {"priority": 101}, "-100 to 100"),
        (declarations.plain, {"priority": True}, "-100 to 100"),
        (declarations.plain, {"queue": "a:b"}, "queue name"),
        (declarations.plain, {"queue": ""}, "queue name"),
        (declarations.plain, {"retry": 3}, "Retries"),
        (declarations.plain, {"tags": "one"}, "list"),
        (declarations.plain, {"durability": "strong"}, "relaxed"),
        (declarations.plain, {"max_crashes": 0}, "whole number"),
        (declarations.plain, {"version": "2"}, "whole number"),
        (declarations.plain, {"on_stuck": "panic"}, "recycle"),
        (declarations.plain, {"at_most_once": "yes"}, "True or False"),
        (declarations.plain, {"prioirty": 3}, "prioirty"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_cure(app, fn, words, cure):
    with pytest.raises(DefinitionError) as caught:
        app.task(**words)(fn)
    assert cure in str(caught.value)
    assert app.registry.names() == ()


def test_settings_are_read_into_numbers(app):
    task = app.task(
        executor="process", hard_timeout="2m", start_within="1h", priority=50, tags=["a", "b", "a"], durability="relaxed"
    )(declarations.plain)
    settings = task.settings
    assert (settings.timeout, settings.start_within, settings.priority) == (120, 3600, 50)
    assert settings.tags == ("a", "b")
    assert settings.durability is Durability.RELAXED


def test_at_most_once_has_one_try_and_one_crash(app):
    settings = app.task(at_most_once=True)(declarations.plain).settings
    assert settings.retry == NO_RETRY
    assert settings.max_crashes == 1


def test_the_app_is_asked_before_the_default_and_after_the_task():
    app = Treadle(retry=Retries(["1s"]), payload_cap=100)
    one = app.task(declarations.plain)
    assert one.settings.retry == Retries(["1s"])
    assert one.settings.payload_cap == 100
    assert one.settings.result_cap == 262_144
    other = app.task(retry=NO_RETRY, payload_cap=7)(declarations.awaited)
    assert other.settings.retry == NO_RETRY
    assert other.settings.payload_cap == 7


def test_one_name_means_one_function(app):
    app.task(name="same")(declarations.plain)
    app.task(name="same")(declarations.plain)
    with pytest.raises(DefinitionError, match="two tasks are called same"):
        app.task(name="same")(declarations.awaited)
    assert app.registry.names() == ("same",)


def test_functions_of_one_factory_are_different_functions(app):
    def make(number):
        def made() -> int:
            return number

        return made

    app.task(name="made")(make(1))
    with pytest.raises(DefinitionError, match="two tasks"):
        app.task(name="made")(make(2))


def test_a_module_executed_twice_declares_its_tasks_once(app):
    source = Path(declarations.__file__).read_text()
    for _ in range(2):
        module = ModuleType("app.declarations")
        exec(compile(source, declarations.__file__, "exec"), vars(module))
        app.task(name="again")(module.plain)
    assert len(app.registry.tasks()) == 1


def test_an_alias_is_one_more_name(app):
    task = app.task(declarations.plain)
    app.alias("old.name", task)
    assert app.registry.get("old.name") is task
    assert app.registry.names() == (task.name, "old.name")
    assert app.registry.tasks() == (task,)
    with pytest.raises(DefinitionError, match=r"old\.name"):
        app.alias("old.name", app.task(declarations.awaited))
    with pytest.raises(DefinitionError, match="Attach it first"):
        app.alias("other", Treadle().task(declarations.plain))


def test_a_library_declares_tasks_for_whoever_attaches_them(app):
    library = Tasks(prefix="mail")
    send = library.task(declarations.plain)
    library.task(queue="slow", name="later")(declarations.awaited)
    assert send.name == "mail.plain"
    with pytest.raises(DefinitionError, match="Attach it"):
        send.enqueue(1)
    app.attach(library)
    app.attach(library)
    assert app.registry.names() == ("mail.plain", "mail.later")
    assert send.call(1).to_job().task == "mail.plain"
    with pytest.raises(DefinitionError, match="belongs to another app"):
        Treadle().attach(library)
    with pytest.raises(DefinitionError, match="two tasks of this collection"):
        library.task(declarations.plain)


def test_an_attached_task_takes_the_app_s_defaults():
    library = Tasks()
    task = library.task(name="x")(declarations.plain)
    Treadle(payload_cap=50).attach(library)
    assert task.settings.payload_cap == 50


def test_an_unknown_name_is_answered_with_names_that_look_alike(app):
    app.task(name="mail.send")(declarations.plain)
    with pytest.raises(BadInput, match=r"mail\.send"):
        app.registry.expect("mail.sned")
    with pytest.raises(BadInput, match=r"mail\.send"):
        app.registry.expect("send")
    with pytest.raises(BadInput, match="no task at all"):
        Treadle().registry.expect("x")


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("shop.ad", "Did you mean shop.add?"),
        ("shop.flakey", "Did you mean shop.flaky?"),
        ("shp.tick", "Did you mean shop.tick?"),
        ("store.tick", "Did you mean shop.tick?"),
        ("shop.refund", "This app knows: shop.add, shop.flaky, shop.tick."),
    ],
)
def test_a_name_is_like_another_in_its_module_and_in_itself(app, name, cure):
    for each in ("shop.add", "shop.flaky", "shop.tick"):
        app.task(name=each)(declarations.plain)
    with pytest.raises(UnknownTask) as caught:
        app.registry.expect(name)
    assert caught.value.cure == cure


def test_decorating_returns_the_task_itself_not_any_object(app):
    found: Any = app.task(declarations.plain)
    assert repr(found) == "<Task app.declarations.plain>"
