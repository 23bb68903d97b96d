"""What `by=` names: parameters of a task, and the text that their values make at enqueue."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from treadle.app.codec import to_plain
from treadle.model.errors import InvalidOption
from treadle.model.kind import is_list

KEY_CAP = 200
"""Bytes of the text that names a key."""

By = str | Iterable[str]


@dataclass(slots=True, frozen=True)
class Parameters:
    """A task's parameters as keys are made of them: their names, the defaults of those that have one, those redacted."""

    task: str
    names: tuple[str, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    redacted: tuple[str, ...] = ()

    def check(self, what: str, by: tuple[str, ...]) -> None:
        """Raise `InvalidOption` unless a key may be made of these parameters."""
        for name in by:
            if name not in self.names:
                cure = f"Name one of: {', '.join(self.names)}." if self.names else "The task takes no parameter at all."
                raise InvalidOption(name, f"{what} names a parameter, and {self.task} has none of this name", cure)
            if name in self.redacted:
                raise InvalidOption(
                    name,
                    f"{what} would show the value of a redacted parameter, because keys are stored as text",
                    "Name a parameter that may be shown, such as an id.",
                )

    def key(self, what: str, by: tuple[str, ...], values: Mapping[str, Any]) -> str:
        """The text that these parameters make in one call; `values` are the stored arguments. Raises `InvalidOption`.

        One text stands for itself, anything else for its JSON; several make a JSON list.
        """
        found = [values[name] if name in values else self._default(name) for name in by]
        only = found[0] if len(found) == 1 else found
        text = only if isinstance(only, str) and only.isprintable() else _json(only)
        size = len(text.encode())
        if size > KEY_CAP:
            raise InvalidOption(
                f"{text[:60]}...",
                f"{what} makes a key of {size:,} bytes here, and a key has at most {KEY_CAP}",
                "Name a parameter that holds something short and stable, such as an id.",
            )
        return text

    def digest(self, values: Mapping[str, Any]) -> str:
        """A short text that two calls share when all their arguments are the same, said or by default, in any order."""
        whole = {name: self._default(name) for name in self.defaults if name not in values} | dict(values)
        return hashlib.blake2b(_json(whole).encode(), digest_size=16).hexdigest()

    def _default(self, name: str) -> Any:
        try:
            return to_plain(self.defaults.get(name))
        except TypeError as error:
            raise InvalidOption(
                f"{self.task}({name})", f"its default cannot stand in a key ({error})", "Pass the argument."
            ) from None


def read_by(what: str, value: object) -> tuple[str, ...]:
    """The parameters that `by=` names, in order. Raises `InvalidOption`."""
    names: Any = (value,) if isinstance(value, str) else value
    if not is_list(names):
        raise InvalidOption(value, f"{what} names a parameter or several", f'Write {what}="account".')
    found: tuple[Any, ...] = tuple(names)
    if not found or len(set(map(str, found))) < len(found) or not all(isinstance(each, str) and each for each in found):
        rule = f"{what} names a parameter or several, each once and none empty"
        raise InvalidOption(value, rule, f'Write {what}=("account", "region").')
    return found


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
