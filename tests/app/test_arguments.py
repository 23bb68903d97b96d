"""Arguments and results: what goes in comes out, and what cannot is refused with the path to it."""

import enum
import math
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle import Context, InvalidArguments, InvalidResult, PayloadTooLarge, Redacted, Treadle

APP = Treadle()


class Colour(enum.Enum):
    RED = "red"


class Size(TypedDict, total=False):
    width: int


class Point(NamedTuple):
    x: float
    y: float


@dataclass
class Line:
    sku: str
    count: int = 1


@dataclass
class Order:
    id: int
    lines: list[Line] = field(default_factory=list)


@APP.task
def plain(number: int, text: str = "z") -> str:
    return text


@APP.task
def everything(
    when: datetime,
    day: date,
    wait: timedelta,
    price: Decimal,
    id: uuid.UUID,  # noqa: A002
    colour: Colour,
    size: Size,
    point: Point,
    orders: dict[str, Order],
    tags: set[str],
    pair: tuple[int, str],
    raw: bytes,
    level: Literal["low", "high"],
    maybe: int | None = None,
) -> None: ...


@APP.task
def untyped(anything, *more, **words): ...


@APP.task
def kinds(first: int, /, second: int = 2, *rest: float, only: bool, other: str = "o", **extra: int) -> None: ...


@APP.task
def timed(number: int, timeout: int = 1) -> None: ...


@APP.task
def nothing() -> None: ...


@APP.task
def secretive(user: str, token: Redacted[int]) -> None: ...


@APP.task
def order_of(ctx: Context, order: Order) -> Order:
    return order


@APP.task
def anything() -> Any: ...


@APP.task
def number() -> int:
    return 3


@APP.task
def optional() -> int | None: ...


MUTABLE: list[int] = [1, 2]


@APP.task
def mutable(items: list[int] = MUTABLE) -> None: ...


def test_every_type_that_json_can_carry_comes_back_as_it_was():
    given_ = {
        "when": datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        "day": date(2026, 3, 1),
        "wait": timedelta(hours=3),
        "price": Decimal("12.340"),
        "id": uuid.uuid4(),
        "colour": Colour.RED,
        "size": {"width": 3},
        "point": Point(1.5, 2.0),
        "orders": {"a": Order(1, [Line("x", 2)])},
        "tags": {"one", "two"},
        "pair": (1, "x"),
        "raw": b"\x00\xff",
        "level": "high",
    }
    args, kwargs = everything.prepare(everything.call(**given_).args)
    assert args == (*given_.values(), None)
    assert kwargs == {}
    assert type(args[9]) is set


def test_arguments_are_stored_by_name_and_defaults_are_not():
    assert plain.call(7).args == '{"number":7}'
    assert plain.call(text="a", number=7).args == '{"text":"a","number":7}'
    assert plain.prepare('{"number":7}') == ((7, "z"), {})
    assert nothing.call().args == "{}"
    assert nothing.prepare("{}") == ((), {})


def test_every_kind_of_parameter_finds_its_place():
    call = kinds.call(1, 5, 1.5, 2.5, only=True, x=3)
    assert msgspec.json.decode(call.args) == {"first": 1, "second": 5, "rest": [1.5, 2.5], "only": True, "extra": {"x": 3}}
    assert kinds.prepare(call.args) == ((1, 5, 1.5, 2.5), {"only": True, "other": "o", "x": 3})
    assert kinds.prepare('{"first":1,"only":false}') == ((1, 2), {"only": False, "other": "o"})
    assert APP.call(kinds.name, {"first": 1, "only": True, "rest": [2.0]}).args == '{"first":1,"only":true,"rest":[2.0]}'


def test_a_default_is_the_function_s_own_object():
    assert mutable.prepare("{}")[0][0] is MUTABLE


def test_a_parameter_without_annotation_takes_any_json():
    call = untyped.call({"deep": [1, None, "x"]}, 2, key=True)
    assert untyped.prepare(call.args) == (({"deep": [1, None, "x"]}, 2), {"key": True})


def test_the_context_is_not_an_argument():
    assert order_of.call(Order(1)).args == '{"order":{"id":1,"lines":[]}}'
    with pytest.raises(InvalidArguments):
        APP.call(order_of.name, {"ctx": 1, "order": {"id": 1}})


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (lambda: plain.call("7"), "$.number"),
        (lambda: plain.call(1.5), "$.number"),
        (lambda: plain.call(None), "$.number"),
        (lambda: plain.call(1, text=3), "$.text"),
        (lambda: order_of.call({"id": 1, "lines": [{"sku": "a"}, {"sku": 5}]}), "$.order.lines[1].sku"),
        (lambda: order_of.call({}), "$.order"),
        (lambda: plain.call(), "number"),
        (lambda: plain.call(1, "a", 3), "too many"),
        (lambda: plain.call(1, nubmer=3), "nubmer"),
        (lambda: plain.call(1, number=3), "number"),
        (lambda: kinds.call(first=1, only=True), "first"),
        (lambda: kinds.call(1, only=True, x="y"), "$.extra"),
        (lambda: APP.call(plain.name, {"number": 1, "colour": 2}), "colour"),
        (lambda: APP.call(plain.name, {}), "number"),
        (lambda: APP.call(plain.name, [1]), "by name"),
        (lambda: untyped.call(object()), "object"),
        (lambda: untyped.call("\ud800"), "surrogates"),
        (lambda: untyped.call({1: {(1, 2): 3}}), ""),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_path(call, shown):
    with pytest.raises(InvalidArguments) as caught:
        call()
    assert shown in str(caught.value)
    assert caught.value.cure


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        (lambda: plain.enqueue(1, delay="5s"), "write plain.options(delay=...).enqueue(...)"),
        (lambda: plain.call(1, key="a", tags=["b"]), "write plain.options(key=..., tags=...).call(...)"),
        (lambda: plain.options(priority=1).enqueue(1, delay=5), "write plain.options(delay=...).enqueue(...)"),
        (lambda: plain.enqueue_in(None, 1, queue="q"), "write plain.options(queue=...).enqueue_in(connection, ...)"),
        (lambda: timed.call(1, timeout=2, delay=3), "write timed.options(delay=...).call(...)"),
    ],
)
def test_an_option_among_the_arguments_is_told_its_place(call, cure):
    with pytest.raises(InvalidArguments) as caught:
        call()
    assert cure in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [1, [math.nan]], {"a": {"b": (math.inf,)}}])
def test_a_number_that_json_does_not_have_is_refused_wherever_it_hides(value):
    with pytest.raises(InvalidArguments):
        untyped.call(value)
    with pytest.raises(InvalidResult):
        anything.encode_result(value)


@dataclass
class Priced:
    price: float


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            [1, {"items": [Priced(1.0), Priced(math.nan)]}],
            "NaN and infinity are not JSON numbers - at `$.anything[1].items[1].price`",
        ),
        ({"a b": (math.inf,)}, "at `$.anything['a b'][0]`"),
        ({"prices": {math.nan: 1}}, "at `key` in `$.anything.prices`"),
        ({-math.inf: 1}, "at `key` in `$.anything`"),
        ({"name": ["x", "a\ud800"]}, "surrogates are not Unicode text, and one stands at position 1 - at `$.anything.name[1]`"),
        ({"\ud800": 1}, "at `key` in `$.anything`"),
        ([{"x": object()}], "a value of type object cannot travel as JSON - at `$.anything[0].x`"),
    ],
)
def test_what_json_cannot_carry_is_refused_with_the_path(value, said):
    with pytest.raises(InvalidArguments) as caught:
        untyped.call(value)
    assert said in str(caught.value)
    with pytest.raises(InvalidResult) as wrong:
        anything.encode_result(value)
    assert said.replace("$.anything", "$") in str(wrong.value)


@APP.task
def hushed(user: str, token: Redacted[Any]) -> Redacted[Any]: ...


@pytest.mark.parametrize("value", [{"hunter2": math.nan}, {"hunter2": {math.inf: 1}}, {"hunter2": object()}])
def test_the_path_does_not_tell_what_is_redacted(value):
    with pytest.raises(InvalidArguments, match=r"hushed\(token=\.\.\.\): .* - at `\$\.token`") as caught:
        hushed.call("ada", value)
    with pytest.raises(InvalidResult) as wrong:
        hushed.encode_result(value)
    assert "hunter2" not in str(caught.value) + str(wrong.value)


def test_a_key_called_nan_is_a_key():
    assert untyped.prepare(untyped.call({"nan": 1, "conan": 2, "inf": None}).args)[0] == ({"nan": 1, "conan": 2, "inf": None},)


def test_null_is_not_taken_for_a_number_that_json_does_not_have():
    assert untyped.prepare(untyped.call([None, "null", 1.5]).args)[0] == ([None, "null", 1.5],)


def nested(levels):
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def test_deep_nesting_is_refused_and_wide_is_not():
    untyped.call(nested(60))
    untyped.call([[1], {"a": 1}] * 200)
    for levels in (64, 1000, 100_000):
        with pytest.raises(InvalidArguments, match="nested"):
            untyped.call(nested(levels))
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(InvalidArguments, match="nested"):
        untyped.call(circle)


def test_a_payload_over_the_cap_is_refused_with_size_cap_and_cure():
    with pytest.raises(PayloadTooLarge) as caught:
        plain.call(1, "x" * 65_536)
    assert "65,558" in str(caught.value)
    assert "65,536" in str(caught.value)
    assert "pass its id" in caught.value.cure
    plain.call(1, "x" * 65_000)


def test_a_redacted_value_is_not_shown_by_the_error_about_it():
    with pytest.raises(InvalidArguments) as caught:
        secretive.call("ada", "hunter2")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InvalidArguments, match="hunter2"):
        plain.call("hunter2")


class Broken:
    def __repr__(self):
        raise RuntimeError("no words")


def test_a_value_that_cannot_be_shown_is_refused_all_the_same():
    with pytest.raises(InvalidArguments, match="Broken"):
        untyped.call(Broken())


@pytest.mark.parametrize(
    "payload", ["", "nonsense", "[]", "null", '{"number":"x"}', '{"numbr":1}', "{}", '{"number":1', "\x00"]
)
def test_a_stored_payload_that_does_not_fit_is_refused(payload):
    with pytest.raises(InvalidArguments):
        plain.prepare(payload)


@pytest.mark.parametrize("payload", ["[" * 200_000, '{"anything":' + "[" * 200_000])
def test_a_stored_payload_that_is_a_bomb_is_refused(payload):
    with pytest.raises(InvalidArguments):
        untyped.prepare(payload)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(
    value=JSON,
    more=st.lists(JSON, max_size=3),
    words=st.dictionaries(st.from_regex(r"[a-m]{1,5}", fullmatch=True), JSON, max_size=3),
)
def test_whatever_json_goes_in_comes_out(value, more, words):
    assert untyped.prepare(untyped.call(value, *more, **words).args) == ((value, *more), words)
    assert anything.decode_result(anything.encode_result(value)) == value


def test_results_travel_by_the_annotation():
    text = order_of.encode_result(Order(1, [Line("x")]))
    assert order_of.decode_result(text) == Order(1, [Line("x")])
    assert number.decode_result(number.encode_result(3)) == 3
    assert optional.encode_result(None) is None
    assert optional.decode_result(None) is None
    assert nothing.encode_result(None) is None
    assert anything.encode_result({"a": {1, 2}}) in ('{"a":[1,2]}', '{"a":[2,1]}')


@pytest.mark.parametrize(
    ("task", "value", "shown"),
    [
        (number, "3", "expected `int`"),
        (number, None, "expected `int`"),
        (nothing, 3, "expected `null`"),
        (order_of, Line("x"), "id"),
        (anything, object(), "object"),
        (anything, "x" * 262_144, "262,146"),
        (anything, nested(100), "nested"),
    ],
)
def test_a_result_that_cannot_travel_is_refused(task, value, shown):
    with pytest.raises(InvalidResult) as caught:
        task.encode_result(value)
    assert shown in str(caught.value)


def test_a_stored_result_of_another_version_is_refused():
    with pytest.raises(InvalidResult, match="another version"):
        number.decode_result('"three"')


def test_pydantic_models_travel_when_pydantic_is_there():
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        number: int
        when: datetime

    def body(model: Model, models: list[Model]) -> Model:
        return model

    task = APP.task(name="pydantic")(body)
    model = Model(number=1, when=datetime(2026, 1, 1, tzinfo=UTC))
    assert task.prepare(task.call(model, [model]).args) == ((model, [model]), {})
    assert task.decode_result(task.encode_result(model)) == model
    with pytest.raises(InvalidArguments, match=r"\$\.models\[0\]"):
        APP.call("pydantic", {"model": {"number": 1, "when": "2026-01-01"}, "models": [{"number": "x"}]})
