"""Dataclass fields to JSON and back, by reflection; every fault is a ProtocolError that names the field."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from .messages import Array, ProtocolError, Scalar


def to_json(value: Any) -> Any:
    """The value as JSON has it, without fields at their defaults."""
    if dataclasses.is_dataclass(value) and not isinstance(value, Array):
        named = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: to_json(held) for field, held in named if held != _default(field)}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, str):  # file names may hold lone surrogates, which are no UTF-8
        return value.encode("utf-8", "backslashreplace").decode()
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@cache
def array_field(kind: type) -> str:
    """The one field of a message that holds arrays, "" where it has none."""
    return next((name for name, hint in _hints(kind).items() if Array in typing.get_args(hint)), "")


def arrays_have_places(kind: type) -> bool:
    """Whether the message holds its arrays in order, without names."""
    return typing.get_origin(_hints(kind).get(array_field(kind))) is tuple


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def from_json(kind: type, fields: Any, where: str) -> Any:
    """A dataclass from a JSON object: each field known, of its type, and there unless it has a default."""
    if not isinstance(fields, dict):
        raise ProtocolError(f"{where} must be an object, not {called(fields)}.")
    hints = {name: hint for name, hint in _hints(kind).items() if name != array_field(kind)}
    unknown = sorted(fields.keys() - hints.keys())
    if unknown:
        raise ProtocolError(f"{where} has no field {quoted(unknown[0])}.")
    required = {field.name for field in dataclasses.fields(kind) if _default(field) is dataclasses.MISSING}
    missing = sorted(required - fields.keys())
    if missing:
        raise ProtocolError(f'{where} lacks the field "{missing[0]}".')
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in fields.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_json(hint, value, where)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return _tuple(inner, value, where)
    if origin is Mapping:
        return _mapping(inner[1], value, where)
    if origin is Literal:
        if value not in inner:
            raise ProtocolError(f"{where} must be one of {', '.join(inner)}, not {called(value)}.")
        return value
    if hint == Scalar:
        return _plain(type(value) if type(value) in inner else hint, value, where)
    if origin is types.UnionType:  # the one other union is with None
        return None if value is None else _value(inner[0], value, where)
    return _plain(hint, value, where)


def _tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ProtocolError(f"{where} must be a list, not {called(value)}.")
    if inner[-1] is Ellipsis:
        inner = inner[:1] * len(value)
    if len(inner) != len(value):
        raise ProtocolError(f"{where} must have {len(inner)} entries, not {len(value)}.")
    pairs = enumerate(zip(inner, value, strict=True))
    return tuple(_value(hint, item, f"{where}[{place}]") for place, (hint, item) in pairs)


def _mapping(hint: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ProtocolError(f"{where} must be an object, not {called(value)}.")
    named = ((_plain(str, key, f"A name in {where}"), item) for key, item in value.items())
    return {key: _value(hint, item, f"{where}.{key[:64]}") for key, item in named}


_PLAIN = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Scalar: "a text or a number",
}


def _plain(hint: Any, value: Any, where: str) -> Any:
    if (hint is str and is_text(value)) or (hint is bool and isinstance(value, bool)):
        return value
    if hint is int and isinstance(value, int) and _is_number(value):
        return value
    if hint is float and _is_number(value):
        return float(value)
    raise ProtocolError(f"{where} must be {_PLAIN[hint]}, not {called(value)}.")


def is_text(value: Any) -> bool:
    """A text without lone surrogates, which JSON can write and UTF-8 cannot."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_number(value: Any) -> bool:
    """Finite, whole numbers within 64 bits; JSON's true and false are no numbers."""
    if isinstance(value, bool):
        return False
    return (
        math.isfinite(value) if isinstance(value, float) else isinstance(value, int) and abs(value) < 1 << 63
    )


def called(value: Any) -> str:
    """What the sentence of a fault calls a JSON value."""
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.6g}" if isinstance(value, float) or _is_number(value) else "so large a number"
    return {dict: "an object", list: "a list", type(None): "null"}.get(type(value), type(value).__name__)


def quoted(text: str) -> str:
    """The text in quotes, shortened, for a sentence."""
    return json.dumps(text if len(text) <= 64 else text[:64] + "…")
