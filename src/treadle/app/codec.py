"""Arguments and results as JSON text, checked against the task's annotations on the way in and on the way out."""

import inspect
import re
from types import GenericAlias
from typing import Any, NoReturn, cast

import msgspec

from treadle.app.fault import first_fault
from treadle.app.signature import Signature
from treadle.model.errors import BadInput, DefinitionError, InvalidArguments, InvalidResult, PayloadTooLarge

DEPTH_CAP = 64

_CANNOT = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
_PATH = re.compile(r"`\$\.(\w+)|field `(\w+)`")
_MISTAKE = re.compile(r"Expected `.*|Object (?:missing required field `\w+`|contains unknown field)|Invalid(?: [A-Za-z]\w*)+")
"""What msgspec says of a value, up to where it quotes it."""
_KIND = inspect.Parameter

Prepared = tuple[tuple[Any, ...], dict[str, Any]]


class Unbound(InvalidArguments):
    """Arguments that are too many, too few, or under names that the function does not know, whatever their values."""


class Arguments:
    """The arguments of one task: `encode` binds and checks them for the store, `prepare` reads them for the body."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        hints, _ = signature.types()
        self._python = inspect.Signature(list(signature.parameters))
        by_position = [
            each for each in signature.parameters if each.kind in (_KIND.POSITIONAL_ONLY, _KIND.POSITIONAL_OR_KEYWORD)
        ]
        self._positional = tuple(each.name for each in by_position)
        plain = all(each.kind in (_KIND.POSITIONAL_OR_KEYWORD, _KIND.KEYWORD_ONLY) for each in signature.parameters)
        self._keywords = frozenset(each.name for each in signature.parameters) if plain else frozenset[str]()
        self._enough = _enough(signature.parameters)
        self._required = frozenset(each.name for each in signature.parameters if _required(each))
        self._redacted = frozenset(signature.redacted())
        self._split = None if len(by_position) == len(signature.parameters) else _splitter(signature.parameters)
        self._decoder = msgspec.json.Decoder(_struct(signature, hints), dec_hook=_decode_foreign)
        self.empty: Prepared | None = None if self._required else self.prepare("{}")

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any], cap: int) -> str:
        """The JSON text of a call. Raises `InvalidArguments` or `PayloadTooLarge`."""
        if not args and not kwargs and not self._required:
            return "{}"
        return self.encode_named(self._bind(args, kwargs), cap)

    def encode_named(self, values: dict[str, Any], cap: int) -> str:
        """The JSON text of a call whose arguments are given by name. Raises `InvalidArguments` or `PayloadTooLarge`."""
        try:
            raw = _encode(values, self._redacted)
        except _CANNOT as error:
            self._refuse(values, error)
        if len(raw) > cap:
            raise PayloadTooLarge(
                f"arguments of {self._signature.name}",
                f"they take {len(raw):,} bytes as JSON, and the cap is {cap:,}",
                "Store the data where it belongs and pass its id, or raise payload_cap.",
            )
        try:
            self._decoder.decode(raw)
        except _CANNOT as error:
            self._refuse(values, error)
        return raw.decode()

    def prepare(self, payload: str) -> Prepared:
        """The arguments of a stored call, as the body takes them. Raises `InvalidArguments`."""
        try:
            values = msgspec.structs.astuple(self._decoder.decode(payload))
        except _CANNOT as error:
            reason, _, cause = self._told(error)
            raise InvalidArguments(
                f"stored arguments of {self._signature.name}",
                reason,
                "They were stored for another version of the code: replay the job with arguments that fit.",
            ) from cause
        return (values, _NOTHING) if self._split is None else self._split(values)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The values by parameter name, defaults left out."""
        if not kwargs and self._enough <= len(args) <= len(self._positional):
            return dict(zip(self._positional, args, strict=False))
        if len(args) <= len(self._positional) and kwargs.keys() <= self._keywords:
            values = dict(zip(self._positional, args, strict=False))
            if not (values.keys() & kwargs.keys()):
                values.update(kwargs)
                if self._required <= values.keys():
                    return values
        try:
            return dict(self._python.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise Unbound(
                f"{self._signature.name}{self._python}", str(error), "Pass the arguments that the task's function takes."
            ) from None

    def _told(self, error: Exception) -> tuple[str, str | None, Exception | None]:
        """What is wrong, with which argument, and the cause: nothing that may quote the value of a redacted one."""
        reason = _reason(error)
        found = _PATH.search(reason.rpartition(" - at ")[2])  # the last: what is quoted before may look like a path
        if found is None:
            return reason, None, error
        if found[1] in self._redacted and isinstance(error, msgspec.ValidationError):
            return f"{_mistake(error)} - at `$.{found[1]}`", found[1], None
        return reason, found[1] or found[2], error

    def _refuse(self, values: dict[str, Any], error: Exception) -> NoReturn:
        reason, name, cause = self._told(error)
        shown = f"arguments of {self._signature.name}"
        if name in values:
            value = "..." if name in self._redacted else _show(values[name])
            shown = f"{self._signature.name}({name}={value})"
        raise InvalidArguments(shown, reason, "Pass values that fit the task's annotations.") from cause


class Returned:
    """The result of one task: `encode` checks it for the store, `decode` reads it for whoever waits for it."""

    def __init__(self, signature: Signature) -> None:
        _, hint = signature.types()
        self._name = signature.name
        self._redacted = "return" in signature.redacted()
        self._decoder = _decoder(signature, "its result", hint)
        self._checked = hint is not Any and hint is not object
        self.may_be_none: bool = not self._checked or self._takes_none()

    def encode(self, value: Any, cap: int) -> str | None:
        """The JSON text of a result, None for None. Raises `InvalidResult`."""
        try:
            raw = _encode(value)
            if self._checked:
                self._decoder.decode(raw)
        except _CANNOT as error:
            raise InvalidResult(
                f"result of {self._name}",
                self._told(error),
                "Return what the annotation says, made of values that JSON can carry.",
            ) from (None if self._redacted else error)
        if len(raw) > cap:
            raise InvalidResult(
                f"result of {self._name}",
                f"it takes {len(raw):,} bytes as JSON, and the cap is {cap:,}",
                "Store the data where it belongs and return its id, or raise result_cap.",
            )
        return None if value is None else raw.decode()

    def _told(self, error: Exception) -> str:
        """What is wrong: neither the value nor the path to it where the result is redacted."""
        if self._redacted and isinstance(error, msgspec.ValidationError):
            return _mistake(error)
        reason = _reason(error)
        return reason.partition(" - at ")[0] if self._redacted else reason

    def _takes_none(self) -> bool:
        try:
            self._decoder.decode(b"null")
        except msgspec.ValidationError:
            return False
        return True

    def decode(self, text: str | None) -> Any:
        """The value of a stored result. Raises `InvalidResult` when it no longer fits the annotation."""
        if text is None:
            return None
        try:
            return self._decoder.decode(text)
        except _CANNOT as error:
            raise InvalidResult(
                f"stored result of {self._name}",
                self._told(error),
                "It was stored by another version of the code: read the job's view.",
            ) from (None if self._redacted else error)


def to_plain(value: object) -> Any:
    """A value as it would come out of JSON. Raises `TypeError` for what JSON cannot carry."""
    return msgspec.to_builtins(value, enc_hook=_encode_foreign, str_keys=True)


_NOTHING: dict[str, Any] = {}


def _required(parameter: inspect.Parameter) -> bool:
    return parameter.default is _KIND.empty and parameter.kind not in (_KIND.VAR_POSITIONAL, _KIND.VAR_KEYWORD)


def _enough(parameters: tuple[inspect.Parameter, ...]) -> int:
    """How many values by position are enough to call; more than there are when some must be given by keyword."""
    by_keyword = any(each.kind is _KIND.KEYWORD_ONLY and _required(each) for each in parameters)
    return len(parameters) + 1 if by_keyword else sum(map(_required, parameters))


def _struct(signature: Signature, hints: dict[str, Any]) -> type[msgspec.Struct]:
    """A struct with one field per parameter; its defaults are the function's own objects."""
    members: list[tuple[str, Any, Any]] = []
    for each in signature.parameters:
        hint = hints[each.name]
        if each.kind is _KIND.VAR_POSITIONAL:
            members.append((each.name, GenericAlias(list, (hint,)), msgspec.field(default_factory=cast("Any", list))))
        elif each.kind is _KIND.VAR_KEYWORD:
            members.append((each.name, GenericAlias(dict, (str, hint)), msgspec.field(default_factory=cast("Any", dict))))
        elif each.default is _KIND.empty:
            members.append((each.name, hint, msgspec.NODEFAULT))
        else:
            members.append((each.name, hint, msgspec.field(default_factory=_always(each.default))))
        _decoder(signature, f"parameter {each.name!r}", hint)
    return msgspec.defstruct("Arguments", members, forbid_unknown_fields=True, kw_only=True)


def _always(value: Any) -> Any:
    return lambda: value


def _splitter(parameters: tuple[inspect.Parameter, ...]) -> Any:
    """How a struct's values become positional and keyword arguments, for signatures that need both."""

    def split(values: tuple[Any, ...]) -> Prepared:
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter, value in zip(parameters, values, strict=True):
            if parameter.kind is _KIND.VAR_POSITIONAL:
                args.extend(value)
            elif parameter.kind is _KIND.VAR_KEYWORD:
                kwargs.update(value)
            elif parameter.kind is _KIND.KEYWORD_ONLY:
                kwargs[parameter.name] = value
            else:
                args.append(value)
        return tuple(args), kwargs

    return split


def _decoder(signature: Signature, what: str, hint: Any) -> "msgspec.json.Decoder[Any]":
    """A decoder for a type. Raises `DefinitionError` for a type that JSON cannot carry."""
    if str(hint) in ("typing.NoReturn", "typing.Never"):
        hint = Any
    try:
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(hint, dec_hook=_decode_foreign)
        foreign = _foreign(msgspec.inspect.type_info(hint), set())
    except (TypeError, RecursionError) as error:
        raise DefinitionError(f"{signature.name}: the type of {what} cannot travel as JSON ({error}).") from error
    if foreign is not None:
        raise DefinitionError(
            f"{signature.name}: the type of {what} contains {foreign.__qualname__}, which cannot travel as JSON. "
            "Use plain types, dataclasses, TypedDicts, attrs or pydantic models, or pass an id."
        )
    return decoder


def _foreign(info: Any, seen: set[int]) -> type | None:
    """The first class inside a type that nothing here can decode."""
    if isinstance(info, tuple):
        return next((found for each in cast("Any", info) if (found := _foreign(each, seen)) is not None), None)
    if not isinstance(info, (msgspec.inspect.Type, msgspec.inspect.Field)) or id(info) in seen:
        return None
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.CustomType):
        kind: type = info.cls
        known = kind is object or hasattr(kind, "__pydantic_validator__")
        return None if known else kind
    return next((found for name in info.__struct_fields__ if (found := _foreign(getattr(info, name), seen)) is not None), None)


def _encode_foreign(value: Any) -> Any:
    if hasattr(value.__class__, "__pydantic_serializer__"):
        return value.model_dump(mode="json")
    raise TypeError(f"a value of type {type(value).__qualname__} cannot travel as JSON")


def _decode_foreign(kind: type, value: Any) -> Any:
    if hasattr(kind, "__pydantic_validator__"):
        return cast("Any", kind).model_validate(value)
    return value


_encoder = msgspec.json.Encoder(enc_hook=_encode_foreign)


def _encode(value: Any, secret: frozenset[str] = frozenset()) -> bytes:
    """The JSON of a value. Raises `ValueError` for what JSON cannot carry, with the path to it, and for too deep nesting."""
    try:
        raw = _encoder.encode(value)
    except (TypeError, UnicodeEncodeError) as error:
        raise ValueError(first_fault(value, _encode_foreign, secret) or str(error)) from error
    # JSON has no NaN. The encoder writes null for one, and its name where it is a key: only then is it worth looking.
    if (b"null" in raw or b'nan":' in raw or b'inf":' in raw) and (fault := first_fault(value, _encode_foreign, secret)):
        raise ValueError(fault)
    if raw.count(b"[") + raw.count(b"{") > DEPTH_CAP and _depth(msgspec.json.decode(raw)) > DEPTH_CAP:
        raise ValueError(f"it is nested more than {DEPTH_CAP} levels deep")
    return raw


def _depth(value: Any) -> int:
    deepest = 0
    level: list[Any] = [value]
    while level:
        level = [inner for each in level for inner in _inside(each)]
        deepest += 1
    return deepest - 1


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        found = cast("Any", value)
        return [*found.keys(), *found.values()]
    return list(cast("Any", value)) if isinstance(value, (list, tuple, set, frozenset)) else []


def _reason(error: Exception) -> str:
    if isinstance(error, BadInput):
        return error.rule
    if isinstance(error, RecursionError):
        return f"it is nested more than {DEPTH_CAP} levels deep"
    return _lowered(str(error))


def _mistake(error: msgspec.ValidationError) -> str:
    """What is wrong with a value, without a word of the value. A class of the user's own may say anything: see its cause."""
    what, _, where = str(error).rpartition(" - at ")
    said = _MISTAKE.match(what or where) if error.__cause__ is None else None
    return _lowered(said[0]) if said else "it does not fit the annotation"


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() and not text.startswith("NaN") else text


def _show(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a broken __repr__ must not hide the real mistake
        return f"<{type(value).__qualname__}>"
    return text if len(text) <= 100 else text[:97] + "..."
