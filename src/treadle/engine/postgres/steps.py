"""What a plan of this engine may ask of its session. Values, with no driver behind them.

A batch travels as one text in PostgreSQL's own notation for arrays, `{1,2,3}`, and the statement turns it into rows: every
driver can carry a text, and none has to learn a type. Encoding element by element in a driver cost more than storing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import wraps
from types import MappingProxyType
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

from treadle.engine.plan import Plan, Steps
from treadle.engine.session import Wake

R = TypeVar("R")
P = ParamSpec("P")
E = TypeVar("E")

Row = tuple[Any, ...]
Rows = list[Row]
Values = Mapping[str, Any]
_NOTHING: Values = MappingProxyType({})


class Statement(NamedTuple):
    """One statement: its text with `$1`, `$2`, ... and the names of what stands there."""

    text: str
    names: tuple[str, ...]


class Ask(NamedTuple):
    """Run a statement and answer its rows, as a list of tuples."""

    statement: Statement
    values: Values = _NOTHING


class Asks(NamedTuple):
    """Run several statements in one exchange and answer the rows of each."""

    asks: Sequence[Ask]


class Do(NamedTuple):
    """Run a statement whose rows nobody wants to see. It is sent with the next one that is waited for, or with the commit."""

    statement: Statement
    values: Values = _NOTHING


class Aside(Protocol):
    """What the end of a plan may say beside its answer."""

    def wake(self, wake: Wake) -> None:
        """Deliver this after the commit."""
        ...

    def remember(self, queue: str, tasks: str, found: "Marks | Gated") -> None:
        """Keep for this session's next claim of these tasks how far this one came, or that gated jobs wait in the queue."""
        ...

    def crowd(self) -> None:
        """Somebody waits for room or for a turn: `Crowded` is true for a while."""
        ...


class Woken:
    """What the end of a plan says beside its answer, for a plan that goes on."""

    def __init__(self) -> None:
        self.wakes: list[Wake] = []

    def wake(self, wake: Wake) -> None:
        """Deliver this after the commit."""
        self.wakes.append(wake)

    def remember(self, queue: str, tasks: str, found: "Marks | Gated") -> None:
        """A settlement leaves no marks."""

    def crowd(self) -> None:
        """Who goes on calls by himself."""


class Later(NamedTuple):
    """Run statements and answer what `finish` makes of their rows.

    It is the last step of its plan, which returns the answer as its own. So the statements may travel with the commit, and
    plans that are run together share one exchange: see `verb`. `finish` is handed the rows of each statement. It may return
    a `Later` in turn, whose statements only read, possibly after the commit. `wake` is a wake with one topic that the
    statement delivers itself, within its transaction, where it is given the `channel`.
    """

    asks: Iterable[Ask]
    finish: Callable[[list[Rows], Aside], Any]
    firmly: Sequence[Ask] = ()
    """What is run before, for its locks, where a plan that changes something goes on after this look."""
    wake: Wake | None = None


Marks = Mapping[int, int]
"""By priority: the seq up to which a queue has been claimed."""


class Way(Enum):
    """What a claim found in the way of the gated jobs of a queue."""

    CLEAR = "clear"
    """Nothing."""
    HINDERED = "hindered"
    """Something hindered some of them, so they had to be judged one by one."""
    JUDGED = "judged"
    """They were judged one by one from the first."""


class Gated(NamedTuple):
    """Gated jobs wait in a queue. `limits` are those that they ask for, of which nobody knew before; `marks`, how far the queue
    has been claimed, where nobody comes back to a place before them; `passed`, how many claims in a row, up to this, left those
    in the queue that wait for their turn."""

    way: Way
    limits: frozenset[str] = frozenset()
    marks: Marks = MappingProxyType({})
    passed: int = 0


class Anew(NamedTuple):
    """What a `Later` may answer that has done nothing: these steps are to be carried out in its stead.

    Within a plan they follow in the same transaction. Where the `Later` has travelled with its commit, they have one of their
    own: of plans that were run together, this one is then done after the others.
    """

    begin: Callable[[], Steps[Any]]


class Recall(NamedTuple):
    """Answer the marks that this session keeps for these tasks in a queue, if they may be used now, or how to claim gated jobs
    there: together while their way seems clear, else one by one.

    Another claim's marks would hide what waits before them for tasks that it did not name.
    """

    queue: str
    tasks: str


class Crowded(NamedTuple):
    """Answer whether somebody waited lately for room or for a turn that the end of a job makes."""


class Abroad(NamedTuple):
    """Answer whether this is a user's transaction, which stays open for as long as he likes."""


@dataclass(slots=True, frozen=True)
class Verb(Plan[R]):
    """A plan of this engine as it left the engine: whatever a `Later` answers is what the plan answers."""


def verb(method: Callable[Concatenate[E, P], Steps[R]]) -> Callable[Concatenate[E, P], Plan[R]]:
    """Turn a generator method into one that returns a `Verb` named after it."""

    @wraps(method)
    def planned(engine: E, /, *args: P.args, **kwargs: P.kwargs) -> Plan[R]:
        return Verb(method.__name__, lambda: method(engine, *args, **kwargs))

    return planned


Step = Ask | Asks | Do | Later | Recall | Crowded | Abroad | Wake


def told(value: object) -> str | None:
    """A value as the text that a user's driver sends: the statement says what it is, and no driver guesses how wide it is.

    So one statement is prepared once, and not for each size of number.
    """
    if value is None or isinstance(value, str):
        return value
    return ("t" if value else "f") if isinstance(value, bool) else repr(value)


def literal(values: Iterable[Any]) -> str:
    """An array of texts, numbers, truths and nulls in PostgreSQL's notation."""
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:
    kind: type = value.__class__
    if value is None:
        return "NULL"
    if kind is int or kind is float:
        return repr(value)
    if kind is bool:
        return "t" if value else "f"
    text: str = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def numbers(values: Iterable[int]) -> str:
    """An array of whole numbers."""
    return "{" + ",".join(map(str, values)) + "}"


def texts(values: Iterable[str]) -> str:
    """An array of texts. They are escaped all at once: one by one it took a third of the time to write out a batch."""
    listed = list(values)
    if not listed:
        return "{}"
    joined = "\0".join(listed)
    if joined.count("\0") >= len(listed):
        return literal(listed)  # which the driver refuses
    return '{"' + joined.replace("\\", "\\\\").replace('"', '\\"').replace("\0", '","') + '"}'


def columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Rows as one array for each column, by name."""
    if not rows:
        return dict.fromkeys(names, "{}")
    return {name: _column(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _column(values: Sequence[Any]) -> str:
    """As `literal`; a column of one kind is written at once."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return numbers(values)
    return texts(values) if kinds == {str} else literal(values)
