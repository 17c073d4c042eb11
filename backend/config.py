"""The `args` of a published checkpoint's JSON <-> a frozen dataclass with the same field names.

A field whose JSON name is no Python name says so in its metadata: field(metadata={"json": "2d_size"}).
"""

import dataclasses
import types
import typing

from backend.errors import UserError

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = typing.TypeVar("T", bound="DataclassInstance")
LARGEST = 65536
"""Bound on the numbers of a configuration, so that a damaged one cannot ask for all memory."""


def parse_config(config_class: type[T], args: object, name: str) -> T:
    """JSON object -> dataclass; an unknown, missing or mistyped field is a UserError that says which."""
    if not isinstance(args, dict):
        raise UserError(f"The settings of {name} must be a JSON object, not {type(args).__name__}.")
    hints = typing.get_type_hints(config_class)
    fields = {json_name(field): field for field in dataclasses.fields(config_class)}
    unknown = sorted(map(str, set(args) - set(fields)))
    if unknown:
        raise UserError(
            f"{name} does not know the setting {', '.join(unknown)}: check the model's JSON file."
        )
    required = [key for key, field in fields.items() if _is_required(field)]
    missing = [key for key in required if key not in args]
    if missing:
        raise UserError(f"{name} needs the setting {', '.join(missing)}: check the model's JSON file.")
    values = {
        fields[key].name: _convert(value, hints[fields[key].name], f"{name}.{key}")
        for key, value in args.items()
    }
    return config_class(**values)


def config_args(config: "DataclassInstance") -> dict[str, typing.Any]:
    """The reverse of `parse_config`: a dict that JSON can hold."""
    args: dict[str, typing.Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = config_args(value)
        args[json_name(field)] = list(value) if isinstance(value, tuple) else value
    return args


def json_name(field: dataclasses.Field) -> str:
    return field.metadata.get("json", field.name)


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(value: object, hint: typing.Any, name: str) -> object:
    if isinstance(hint, types.UnionType):
        if value is None and type(None) in hint.__args__:
            return None
        hint = next(part for part in hint.__args__ if part is not type(None))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return parse_config(hint, value, name)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{name} must be a list, not {value!r}: check the model's JSON file.")
        return tuple(_convert(entry, typing.get_args(hint)[0], name) for entry in value)
    allowed = (int, float) if hint is float else (hint,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        raise UserError(f"{name} must be {hint.__name__}, not {value!r}: check the model's JSON file.")
    if isinstance(value, int | float) and not 0 <= value <= LARGEST:
        raise UserError(
            f"{name} must lie between 0 and {LARGEST}, not {value!r}: check the model's JSON file."
        )
    return value


def resolve_heads(channels: int, num_heads: int | None, num_head_channels: int | None, name: str) -> int:
    """Number of attention heads, given itself or as channels per head; it must divide the channels."""
    heads = num_heads or channels // (num_head_channels or channels)
    if heads < 1 or channels % heads:
        raise UserError(f"{name}: {channels} channels cannot be shared by {heads} heads.")
    return heads


def require(condition: bool, sentence: str) -> None:
    """A rule between the fields of a configuration."""
    if not condition:
        raise UserError(sentence)
