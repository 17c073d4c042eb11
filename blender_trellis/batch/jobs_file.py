"""A file of jobs: one JSON object a line. Everything is read and checked before anything is made.

    {"do": "generate", "picture": "chair.png", "seed": 3, "name": "chair"}
    {"do": "vary", "asset": "chair", "prompt": "a red chair", "strength": 0.6}
    {"do": "edit", "asset": "old.latents.safetensors", "region": "back.json", "picture": "high.png"}

Paths are relative to the file of jobs. `asset` may also be the name of an object that a line above makes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from ..faults import Fault
from ..protocol import FORMATS, Background
from ..protocol.fields import is_text
from .options import GUIDANCE_MAX, SEED_END, STEPS_MAX
from .plan import distinct_name, name_key
from .work import FILES, Do, Work, model_in

LARGEST_FILE = 64 << 20
NAME_BYTES = 200  # file systems take 255, of which suffixes need some
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
"""What files on Windows cannot be called, whatever suffix follows."""
FORMAT_NAMES = (*(name for name, one in FORMATS.items() if one.in_blender), *FILES)

_ANY = ("do", "name", "picture", "background", "prompt", "seed", "model", "steps", "guidance", "formats")
_LATER = ("asset", "strength")
KEYS: Mapping[str, tuple[str, ...]] = {
    "generate": _ANY,
    "vary": (*_ANY, *_LATER, "shape"),
    "edit": (*_ANY, *_LATER, "region", "mode", "start", "margin", "growth", "jumps"),
}
"""What a job of each kind may say."""


@dataclass(frozen=True)
class _Line:
    """Where a job stands, for what is said of it."""

    file: Path
    number: int

    def fault(self, sentence: str) -> Fault:
        return Fault(f"{self.file.name}, line {self.number}: {sentence}")


def read_jobs(path: Path, first_seed: int = 1) -> list[Work]:
    """All jobs in their order, with distinct names; Fault that names the first line that is none and why.

    A job that names no seed gets `first_seed`.
    """
    works: list[Work] = []
    taken: set[str] = set()
    lines: dict[str, int] = {}
    for number, text in enumerate(_read_lines(path), start=1):
        if not text.strip():
            continue
        line = _Line(path, number)
        said = _parse(text, line)
        work = _work(said, line, {one.name for one in works})
        if "name" in said:
            if (key := name_key(work.name)) in taken:
                raise line.fault(f'the name "{work.name}" is that of line {lines[key]}; choose another one.')
            taken.add(key)
        else:
            work = replace(work, name=distinct_name(work.name, taken))
        lines[name_key(work.name)] = number
        works.append(work if work.seed is not None else replace(work, seed=first_seed))
    if not works:
        raise Fault(f'There are no jobs in "{path}": write one JSON object a line.')
    return works


def _read_lines(path: Path) -> list[bytes]:
    try:
        if path.exists() and not path.is_file():
            raise Fault(f'"{path}" is no file: name a file with one JSON object a line.')
        if path.stat().st_size > LARGEST_FILE:
            raise Fault(f'"{path}" is larger than {LARGEST_FILE >> 20} MB: split it into several files.')
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError as error:
        raise Fault(
            f'The jobs in "{path}" cannot be read ({error.strerror}): choose another file.'
        ) from error


def _parse(text: bytes, line: _Line) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        named = dict(pairs)
        if len(named) < len(pairs):
            twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
            raise ValueError(f'it says "{twice}" twice')
        return named

    def no_number(word: str) -> float:
        raise ValueError(f"{word} is no JSON number")

    try:
        said = json.loads(text.decode("utf-8"), object_pairs_hook=once, parse_constant=no_number)
    except RecursionError as error:
        raise line.fault("it is nested too deeply; write one JSON object a line.") from error
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise line.fault("it holds a number of thousands of digits; write a shorter one.") from error
        raise line.fault(f"it is no JSON object ({error}); write one a line.") from error
    if not isinstance(said, dict):
        raise line.fault("it is no JSON object; write one a line.")
    return said


def _work(said: dict[str, Any], line: _Line, made: set[str]) -> Work:
    """One job; `made` holds the names of those above it."""
    do = _one_of(get_args(Do))(said.get("do"), "do", line) if "do" in said else None
    if do is None:
        raise line.fault(f'it does not say what to "do": {" or ".join(get_args(Do))}.')
    if unknown := sorted(said.keys() - set(KEYS[do])):
        raise line.fault(f'"{unknown[0]}" is nothing that {do} knows; it knows {", ".join(KEYS[do])}.')
    values = {key: _CHECKS[key](value, key, line) for key, value in said.items() if key != "do"}
    _check_guide(do, values, line)
    formats = values.pop("formats", ())
    pictures = tuple(line.file.parent / picture for picture in values.pop("picture", ()))
    asset = values.pop("asset", None)
    if do != "generate":
        values |= _asset(asset, line, made)
    if isinstance(values.get("region"), str):
        values["region"] = line.file.parent / values["region"]
    elif do == "edit" and "region" not in values:
        raise line.fault("edit needs a region: the name of a JSON file, or the region itself.")
    if "model" in values:
        values["model"] = model_in(line.file.parent, values["model"])
    name = values.pop("name", None) or _own_name(do, asset, pictures, values.get("prompt", ""))
    return Work(
        name,
        pictures,
        do=do,
        formats=tuple(name for name in formats if name not in FILES) or None,
        files=tuple(name for name in formats if name in FILES) or None,
        **values,
    )


def _check_guide(do: str, values: Mapping[str, Any], line: _Line) -> None:
    if "picture" in values and "prompt" in values:
        raise line.fault("it has both a picture and a prompt; give one of them.")
    if values.get("mode") != "remove" and "picture" not in values and "prompt" not in values:
        raise line.fault(f"{do} needs a picture or a prompt of what the whole object should be.")


def _asset(asset: str | None, line: _Line, made: set[str]) -> dict[str, Any]:
    if asset is None:
        raise line.fault("it needs an asset: a file, or the name of an object that a line above makes.")
    if asset in made:
        return {"of": asset}
    if not Path(asset).suffix:
        raise line.fault(f'no line above makes "{asset}"; name one that does, or a file.')
    return {"asset": line.file.parent / asset}


def _own_name(do: str, asset: str | None, pictures: tuple[Path, ...], prompt: str) -> str:
    """What the files are called where nobody says."""
    if asset is not None:
        stem = Path(asset).name.removesuffix(".latents.safetensors")
        stem = Path(stem).stem if stem == Path(asset).name and Path(asset).suffix else stem
        return f"{stem}_{'variant' if do == 'vary' else 'edited'}"
    if pictures:
        return pictures[0].stem
    words = "".join(letter if letter.isalnum() else " " for letter in prompt).split()
    return "_".join(words)[:40] or "prompt"


# ---- what each key may hold -----------------------------------------------------------------------------

Check = Callable[[Any, str, _Line], Any]


def _text(value: Any, key: str, line: _Line) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value or not is_text(value):
        raise line.fault(f'"{key}" is {_shown(value)}; give a text.')
    return value


def _name(value: Any, key: str, line: _Line) -> str:
    text = _text(value, key, line)
    refused = any(letter in '/\\:*?"<>|' or not letter.isprintable() for letter in text)
    refused |= text.startswith(".") or text.endswith((".", " "))
    if refused or text.split(".")[0].strip().casefold() in _DEVICES:
        raise line.fault(f'"{text}" cannot be the name of files; take letters, digits, "_" and "-".')
    if len(text.encode("utf-8", "surrogatepass")) > NAME_BYTES:
        raise line.fault(f"the name is longer than {NAME_BYTES} bytes; choose a shorter one.")
    return text


def _paths(value: Any, key: str, line: _Line) -> tuple[str, ...]:
    """One path, or a list of several views of the object."""
    listed = value if isinstance(value, list) else [value]
    if not listed:
        raise line.fault(f'"{key}" is an empty list; name at least one file.')
    return tuple(_text(one, key, line) for one in listed)


def _formats(value: Any, key: str, line: _Line) -> tuple[str, ...]:
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed:
        raise line.fault(f'"{key}" is {_shown(value)}; give a list of {", ".join(FORMAT_NAMES)}.')
    choice = _one_of(FORMAT_NAMES)
    names = (choice(one.strip() if isinstance(one, str) else one, key, line) for one in listed)
    return tuple(dict.fromkeys(names))


def _region(value: Any, key: str, line: _Line) -> Any:
    return value if isinstance(value, dict) else _text(value, key, line)


def _flag(value: Any, key: str, line: _Line) -> bool:
    if not isinstance(value, bool):
        raise line.fault(f'"{key}" is {_shown(value)}; give true or false.')
    return value


def _one_of(names: tuple[str, ...]) -> Check:
    def check(value: Any, key: str, line: _Line) -> str:
        if not isinstance(value, str) or value not in names:
            raise line.fault(f'"{key}" is {_shown(value)}; choose of {", ".join(names)}.')
        return value

    return check


def _whole(low: int, high: int) -> Check:
    def check(value: Any, key: str, line: _Line) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise line.fault(f'"{key}" is {_shown(value)}; give a whole number from {low} to {high}.')
        return value

    return check


def _number(low: float, high: float) -> Check:
    def check(value: Any, key: str, line: _Line) -> float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits or not low <= value <= high:  # not isfinite, which large integers overflow
            raise line.fault(f'"{key}" is {_shown(value)}; give a number from {low:g} to {high:g}.')
        return float(value)

    return check


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_CHECKS: Mapping[str, Check] = {
    "name": _name,
    "picture": _paths,
    "background": _one_of(get_args(Background)),
    "prompt": _text,
    "asset": _text,
    "region": _region,
    "seed": _whole(0, SEED_END - 1),
    "model": _text,
    "steps": _whole(1, STEPS_MAX),
    "guidance": _number(0, GUIDANCE_MAX),
    "strength": _number(0.001, 1),
    "shape": _flag,
    "formats": _formats,
    "mode": _one_of(("replace", "add", "look", "remove")),
    "start": _one_of(("guide", "asset")),
    "margin": _whole(0, 16),
    "growth": _whole(0, 4),
    "jumps": _whole(1, 50),
}
