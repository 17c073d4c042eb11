"""JSON configurations <-> frozen dataclasses with the same field names; the one parser for all of them.

A field whose JSON name is no Python name says so in its metadata: field(metadata={"json": "2d_size"}); one
whose numbers may lie outside 0 … LARGEST names its own bounds: field(metadata={"range": (-1.0, 1.0)}).
"""

import dataclasses
import json
import types
import typing
from pathlib import Path

from backend.errors import MissingModel, UserError
from backend.files import check_ordinary

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = typing.TypeVar("T", bound="DataclassInstance")
LARGEST = 65536
"""Bound on the numbers of a configuration, so that a damaged one cannot ask for all memory."""
REMEDY = "check the model's JSON file."


MAX_JSON_BYTES = 64 << 20


def read_json(path: Path, what: str = "file") -> dict[str, typing.Any]:
    """The JSON object in a file; `what` is what sentences call it.

    MissingModel where there is none; UserError where it is no JSON object, or no ordinary file of
    sensible size.
    """
    check_ordinary(path, MAX_JSON_BYTES)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingModel(
            f"The {what} {path} is missing: download the model's whole folder again."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"The {what} {path} cannot be read ({error}): remove it and download it again."
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"The {what} {path} is damaged (not a JSON object): remove it and download it again.")
    return content


def parse_config(config_class: type[T], args: object, name: str, remedy: str = REMEDY) -> T:
    """JSON object -> dataclass; an unknown, missing or mistyped field is a UserError that says which.

    `name` is what sentences call the object, `remedy` their end.
    """
    if not isinstance(args, dict):
        raise UserError(f"The settings of {name} must be a JSON object, not {type(args).__name__}: {remedy}")
    hints = typing.get_type_hints(config_class)
    fields = {json_name(field): field for field in dataclasses.fields(config_class)}
    unknown = sorted(map(str, set(args) - set(fields)))
    if unknown:
        raise UserError(f"{name} does not know the setting {', '.join(unknown)}: {remedy}")
    required = [key for key, field in fields.items() if _is_required(field)]
    missing = [key for key in required if key not in args]
    if missing:
        raise UserError(f"{name} needs the setting {', '.join(missing)}: {remedy}")
    values = {}
    for key, value in args.items():
        field = fields[key]
        bounds = field.metadata.get("range", (0, LARGEST))
        values[field.name] = _Converter(bounds, remedy).convert(value, hints[field.name], f"{name}.{key}")
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
    """What a field is called in the files."""
    return field.metadata.get("json", field.name)


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@dataclasses.dataclass(frozen=True)
class _Converter:
    """JSON values -> values of a type hint, within `bounds` where they are numbers."""

    bounds: tuple[float, float]
    remedy: str

    def convert(self, value: object, hint: typing.Any, name: str) -> object:
        if isinstance(hint, types.UnionType):
            if value is None and type(None) in hint.__args__:
                return None
            hint = next(part for part in hint.__args__ if part is not type(None))
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return parse_config(hint, value, name, self.remedy)
        origin = typing.get_origin(hint)
        if origin is tuple:
            return self._tuple(value, typing.get_args(hint), name)
        if origin is dict:
            if not isinstance(value, dict):
                raise self._fault(name, "a JSON object", value)
            inner = typing.get_args(hint)[1]
            return {key: self.convert(entry, inner, f"{name}.{key}") for key, entry in value.items()}
        return self._plain(value, hint, name)

    def _tuple(self, value: object, inner: tuple[typing.Any, ...], name: str) -> tuple[object, ...]:
        if not isinstance(value, list | tuple):
            raise self._fault(name, "a list", value)
        if inner[-1] is Ellipsis:
            inner = inner[:1] * len(value)
        if len(inner) != len(value):
            raise self._fault(name, f"a list of {len(inner)} entries", value)
        return tuple(self.convert(entry, hint, name) for entry, hint in zip(value, inner, strict=True))

    def _plain(self, value: object, hint: type, name: str) -> object:
        allowed = (int, float) if hint is float else (hint,)
        if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
            raise self._fault(name, hint.__name__, value)
        low, high = self.bounds
        # NaN lies between nothing.
        if isinstance(value, int | float) and not low <= value <= high:
            raise UserError(f"{name} must lie between {low:g} and {high:g}, not {value!r}: {self.remedy}")
        return value

    def _fault(self, name: str, wanted: str, value: object) -> UserError:
        return UserError(f"{name} must be {wanted}, not {_shown(value)}: {self.remedy}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"


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
