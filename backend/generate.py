"""`python -m backend generate`: pictures or a sentence to .glb and .ply files, without Blender."""

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from safetensors.numpy import save_file
from tqdm import tqdm

from backend.errors import UserError
from backend.files import atomic_path, make_writable_folder
from backend.layers.engines import ENGINES
from backend.memory import is_out_of_memory
from backend.representations.gaussians import write_ply
from backend.representations.glb import write_glb
from backend.serve import INTERNAL, OUT_OF_MEMORY
from backend.trellis.engine import TrellisEngine
from backend.trellis.outputs import radiance_field_arrays
from blender_trellis.protocol import Array, Format, Generate, SamplingParams

log = logging.getLogger(__name__)

FORMATS: tuple[str, ...] = get_args(Format)


@dataclass(frozen=True)
class Item:
    """One object to make: its name in the output folder, and its pictures."""

    name: str
    pictures: tuple[Path, ...]


def main(argv: Sequence[str]) -> int:
    """0 when every object was made, 1 when some were, 2 when none was."""
    options = parser().parse_args(argv)
    logging.getLogger().setLevel(logging.INFO)
    items = _items(options)
    try:
        make_writable_folder(options.output)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    engine = TrellisEngine()
    outcomes = [_run(engine, item, options) for item in items]
    report = {"made": sum("error" not in one for one in outcomes), "of": len(items), "objects": outcomes}
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if options.json else _table(outcomes))
    return 0 if report["made"] == len(items) else 1 if report["made"] else 2


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    wanted = argparse.ArgumentParser(prog="python -m backend generate", description=__doc__)
    wanted.add_argument("image", nargs="*", type=Path, help="pictures; each becomes one object")
    wanted.add_argument("--views", action="store_true", help="the pictures are views of one object")
    wanted.add_argument("--prompt", default="", help="a sentence, for text models")
    wanted.add_argument("--output", type=Path, required=True, help="folder for the results")
    wanted.add_argument("--model", default="starter", help="a bundled or installed model, or a folder")
    wanted.add_argument("--seed", type=int, default=1)
    wanted.add_argument("--steps", type=int, help="sampler steps of both stages (default: the model's)")
    wanted.add_argument(
        "--guidance", type=float, help="guidance strength of both stages (default: the model's)"
    )
    wanted.add_argument(
        "--formats", default="mesh,gaussian", help=f"comma-separated, of {', '.join(FORMATS)}"
    )
    wanted.add_argument("--multi-image", default="stochastic", choices=("stochastic", "multidiffusion"))
    wanted.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    wanted.add_argument("--precision", default="auto", help="auto, fp32, fp16, bf16")
    wanted.add_argument("--engine", default="torch", choices=ENGINES)
    wanted.add_argument("--json", action="store_true", help="print the report as JSON")
    return wanted


def _items(options: argparse.Namespace) -> list[Item]:
    """Objects with distinct names: a name that comes again gets a number."""
    if options.prompt and not options.image:
        return [Item("prompt", ())]
    if not options.image:
        parser().error("give at least one picture, or a --prompt")
    if options.views:
        return [Item(options.image[0].stem, tuple(options.image))]
    items: list[Item] = []
    taken: set[str] = set()
    for path in options.image:
        name, n = path.stem, 1
        while name in taken:
            n += 1
            name = f"{path.stem}_{n}"
        taken.add(name)
        items.append(Item(name, (path,)))
    return items


def _run(engine: TrellisEngine, item: Item, options: argparse.Namespace) -> dict[str, Any]:
    """Make one object and write its files. A fault becomes one sentence; it never stops the next object."""
    began = time.monotonic()
    outcome: dict[str, Any] = {"name": item.name, "files": []}
    try:
        request = _request(item, options)
        with _Bar(item.name) as bar:
            summary = engine.make(
                request,
                bar.update,
                lambda kind, part: _write(kind, part, options.output / item.name, outcome["files"]),
            )
        outcome |= {
            "seed": summary.seed,
            "model_hash": summary.model_hash,
            "picture_hash": summary.picture_hash,
        }
    except UserError as error:
        outcome["error"] = str(error)
    except Exception as error:
        log.exception("%s failed", item.name)
        outcome["error"] = OUT_OF_MEMORY if is_out_of_memory(error) else INTERNAL.format(type(error).__name__)
    return outcome | {"seconds": round(time.monotonic() - began, 2)}


def _request(item: Item, options: argparse.Namespace) -> Generate:
    files = [_read(path) for path in item.pictures]
    sampling = SamplingParams(steps=options.steps, cfg_strength=options.guidance)
    formats = tuple(name.strip() for name in options.formats.split(",") if name.strip())
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise UserError(f"Unknown format '{unknown[0]}'; choose of {', '.join(FORMATS)}.")
    return Generate(
        job=item.name,
        model=options.model,
        device=options.device,
        precision=options.precision,
        pictures=tuple(Array("u1", (len(data),), data) for data in files),
        picture_names=tuple(path.name for path in item.pictures),
        prompt=options.prompt,
        seed=options.seed,
        sparse_structure=sampling,
        structured_latent=sampling,
        formats=formats,
        multi_image=options.multi_image,
        engine=options.engine,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"The picture {path} cannot be read ({error.strerror}); check the path.") from error


def _write(kind: str, part: Any, stem: Path, files: list[str]) -> None:
    """`stem` + .glb, .ply or .radiance_field.safetensors; each appears whole or not at all."""
    if kind == "mesh":
        path = stem.with_name(stem.name + ".glb")
        write_glb(path, part)
    elif kind == "gaussian":
        path = stem.with_name(stem.name + ".ply")
        write_ply(path, part)
    elif kind == "radiance_field":
        path = stem.with_name(stem.name + ".radiance_field.safetensors")
        with atomic_path(path) as temporary:
            save_file(radiance_field_arrays(part), temporary)
    else:
        return
    files.append(path.name)


def _table(outcomes: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"{one['name']}: {one.get('error') or ', '.join(one['files'])} ({one['seconds']} s)"
        for one in outcomes
    ]
    made = sum("error" not in one for one in outcomes)
    return "\n".join([*lines, f"{made} of {len(outcomes)} made"]) + "\n"


class _Bar:
    """A progress bar on stderr that follows the stages of one generation."""

    def __init__(self, name: str) -> None:
        self._bar = tqdm(desc=name, total=1, file=sys.stderr, leave=True)

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *fault: object) -> None:
        self._bar.close()

    def update(self, stage: str, step: int, steps: int) -> None:
        self._bar.set_postfix_str(stage.replace("_", " "), refresh=False)
        self._bar.total = steps
        self._bar.n = step
        self._bar.refresh()
